#!/usr/bin/env bash
# Licences, banned crates and features, sources and, when a database of advisories is on this
# machine, advisories: as deny.toml says, without network. Says what it could not check.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

cargo_home=${CARGO_HOME:-$HOME/.cargo}

has_advisories() { compgen -G "$cargo_home/advisory-db*/*" >/dev/null; }

if cargo deny --version >/dev/null 2>&1; then
    if has_advisories; then
        cargo deny --offline check advisories licenses bans sources
    else
        cargo deny --offline check licenses bans sources
        echo "NOT checked: advisories (no database under $cargo_home/advisory-dbs; 'cargo deny fetch' gets one)."
    fi
    exit 0
fi

command -v python3 >/dev/null || {
    echo "tests/licences.sh: needs cargo-deny, or python3 (3.11 or newer)." >&2
    exit 1
}
metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT
# For this platform only: what a build has fetched is then enough, without network.
platform=$(rustc -vV | sed -n 's/^host: //p')
cargo metadata --format-version 1 --locked --all-features --filter-platform "$platform" >"$metadata"
python3 - "$metadata" deny.toml <<'PYTHON'
import json, re, sys

try:
    import tomllib
except ImportError:
    sys.exit("tests/licences.sh: needs cargo-deny, or Python 3.11 or newer.")

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
PROVIDERS = {"ring", "aws-lc-rs", "rustls-openssl", "rustls-rustcrypto", "rustls-symcrypt", "rustls-mbedtls-provider"}

with open(sys.argv[1], encoding="utf-8") as file:
    graph = json.load(file)
with open(sys.argv[2], "rb") as file:
    rules = tomllib.load(file)

allowed = set(rules["licenses"]["allow"])
banned = {entry["crate"]: entry["reason"] for entry in rules["bans"]["deny"]}
banned_features = {entry["crate"]: (set(entry["deny"]), entry["reason"]) for entry in rules["bans"]["features"]}
packages = {package["id"]: package for package in graph["packages"]}
ours = set(graph["workspace_members"])
faults = []


def satisfied(expression):
    """Whether an SPDX expression can be satisfied from the allowed licences; 'A/B' is the old 'A OR B'."""
    tokens = re.findall(r"[()]|[A-Za-z0-9.+-]+", expression.replace("/", " OR "))

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = both() or value
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one():
        token = tokens.pop(0)
        if token == "(":
            value = either()
            if tokens.pop(0) != ")":
                raise ValueError("no closing parenthesis")
            return value
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    value = either()
    if tokens:
        raise ValueError(f"cannot read {tokens[0]}")
    return value


for package in packages.values():
    name = f"{package['name']} {package['version']}"
    licence = package["license"]
    if not licence:
        faults.append(f"{name} has no licence expression")
    else:
        try:
            if not satisfied(licence):
                faults.append(f"{name} has the licence {licence}, which deny.toml does not allow")
        except (ValueError, IndexError) as trouble:
            faults.append(f"{name} has the unreadable licence expression {licence!r}: {trouble}")
    if package["source"] != CRATES_IO and package["id"] not in ours:
        faults.append(f"{name} comes from {package['source'] or 'a path'}, not from crates.io")
    if package["name"] in banned:
        faults.append(f"{name} is banned: {banned[package['name']]}")

for node in graph["resolve"]["nodes"]:
    package = packages[node["id"]]
    features, reason = banned_features.get(package["name"], (set(), ""))
    for feature in sorted(features & set(node["features"])):
        faults.append(f"feature {feature} of {package['name']} {package['version']} is on: {reason}")

providers = sorted({package["name"] for package in packages.values()} & PROVIDERS)
if len(providers) != 1:
    faults.append(f"rustls wants exactly one crypto provider in the graph, found: {', '.join(providers) or 'none'}")

for fault in sorted(faults):
    print(f"FAULT: {fault}", file=sys.stderr)
if faults:
    sys.exit(1)
print(f"{len(packages)} packages: licences, sources, banned crates and features, one crypto provider ({providers[0]}): fine.")
print("Checked without cargo-deny: this platform's packages, and the licences they declare, not the texts in them.")
PYTHON

if cargo audit --version >/dev/null 2>&1 && [[ -d $cargo_home/advisory-db ]]; then
    cargo audit --db "$cargo_home/advisory-db" --no-fetch --stale
else
    echo "NOT checked: advisories and yanked versions (they need cargo-deny or cargo-audit and a local database)."
fi

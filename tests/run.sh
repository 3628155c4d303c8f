#!/usr/bin/env bash
# Runs every test. Installs what the tests need from Debian's packages when it is missing, and
# gives each run its own PostgreSQL and RabbitMQ, which are gone afterwards.
set -euo pipefail
umask 022

usage() {
    cat <<'TEXT'
Usage: tests/run.sh [--samples DIR] [-- FILTER...]

  --samples DIR   also book every published sample body (*.json) in DIR
  --help          this text
  -- FILTER...    run only the tests whose names match (given to cargo nextest, or to cargo test)

Needs a Rust toolchain. PostgreSQL, RabbitMQ, hledger, chromium, a C compiler and Python with pika are installed from
Debian's packages when missing (as root or through sudo), and schemathesis from PyPI into target/. The servers run in a temporary folder on
free ports of 127.0.0.1; servers that already run on this machine are left alone.
TEXT
}

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

samples=
while (($# > 0)); do
    case "$1" in
    -h | --help)
        usage
        exit 0
        ;;
    --samples)
        (($# >= 2)) || die "--samples wants a folder."
        samples=$2
        shift 2
        ;;
    --samples=*)
        samples=${1#--samples=}
        shift
        ;;
    --)
        shift
        break
        ;;
    *)
        usage >&2
        die "unknown option '$1'."
        ;;
    esac
done
if [[ -n $samples ]]; then
    [[ -d $samples ]] || die "the folder of samples '$samples' does not exist."
    TALLYHOOK_SAMPLES=$(cd "$samples" && pwd -P)
    export TALLYHOOK_SAMPLES
fi
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

# --- What must be installed ------------------------------------------------------------------

missing_packages() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || echo postgresql
    [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || echo rabbitmq-server
    [[ -x /usr/bin/python3 ]] || echo python3
    /usr/bin/python3 -c 'import pika' 2>/dev/null || echo python3-pika
    /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    command -v hledger >/dev/null || echo hledger
    command -v chromium >/dev/null || echo chromium
    command -v chromedriver >/dev/null || echo chromium-driver
    command -v cc >/dev/null || echo gcc libc6-dev
    command -v curl >/dev/null || echo curl
    command -v openssl >/dev/null || echo openssl
}

install_packages() {
    local as_root=()
    local by_hand="Install these packages and try again: $*"
    command -v apt-get >/dev/null ||
        die "the tests need PostgreSQL, RabbitMQ, chromium and Python with pika, and this machine has no apt-get. $by_hand"
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            die "the tests need packages that are missing, and this is neither root nor is there sudo. $by_hand"
        if sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        elif [[ -t 0 ]]; then
            as_root=(sudo)
        else
            die "the tests need packages that are missing, and sudo wants a password. $by_hand"
        fi
    fi
    say "Installing $*"
    # RUNLEVEL=1 asks the packages not to start services of their own: the tests never use them.
    # Standard input is closed so that nothing can ask a question.
    as_root+=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1)
    "${as_root[@]}" apt-get update -q </dev/null || die "apt-get update failed. $by_hand"
    "${as_root[@]}" apt-get install -q -y --no-install-recommends "$@" </dev/null ||
        die "apt-get install failed. $by_hand"
}

command -v cargo >/dev/null || die "a Rust toolchain is missing: https://rustup.rs installs one."
mapfile -t packages < <(missing_packages | tr ' ' '\n')
if ((${#packages[@]} > 0)); then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing_packages | tr ' ' '\n')
    ((${#packages[@]} == 0)) || die "still missing after the installation: ${packages[*]}."
fi

# Schemathesis is no Debian package. Its own folder under target/ leaves the machine's Python alone.
schemathesis=4.32.5
if [[ $(target/schemathesis/bin/schemathesis --version 2>/dev/null) != *" $schemathesis" ]]; then
    say "Installing schemathesis $schemathesis into target/"
    rm -rf target/schemathesis
    mkdir -p target
    /usr/bin/python3 -m venv target/schemathesis || die "python3 can't make a virtual environment."
    target/schemathesis/bin/pip install -q "schemathesis==$schemathesis" ||
        die "schemathesis $schemathesis can't be installed from PyPI."
fi

# --- Servers, for this run only --------------------------------------------------------------

servers=
finish() {
    local status=$?
    trap - EXIT INT TERM HUP
    if [[ -n $servers ]]; then
        if tests/servers.sh stop "$servers"; then
            rm -rf "$servers"
        else
            echo "tests/run.sh: the servers in $servers could not be stopped; see there." >&2
            ((status != 0)) || status=1
        fi
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

say "Building"
cargo build --workspace --locked

say "Starting PostgreSQL and RabbitMQ"
servers=$(mktemp -d "${TMPDIR:-/tmp}/tallyhook-tests.XXXXXX")
chmod 755 "$servers"
tests/servers.sh start "$servers"
# shellcheck source=/dev/null
. "$servers/env"

# --- The tests -------------------------------------------------------------------------------

# The examples in the documentation run first, so that the summary of the tests is the last thing
# to be read. A failure of one does not hide the result of the other.
status=0
if (($# == 0)); then
    say "Examples in the documentation"
    cargo test --doc --workspace --locked || status=$?
fi

say "Tests"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --locked --no-fail-fast ${1+-- "$@"} || status=$?
else
    cargo test --workspace --locked --no-fail-fast --lib --bins --tests ${1+-- "$@"} || status=$?
fi
exit "$status"

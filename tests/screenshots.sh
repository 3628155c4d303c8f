#!/usr/bin/env bash
# Makes the screenshots in docs/images anew: starts a demo, lets it trade for a while, and looks at it with chromium.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

if [[ ${1-} == --help ]]; then
    echo "Usage: tests/screenshots.sh [SECONDS]   (how long the demo trades before the first one; 75 by default)"
    exit 0
fi
for tool in chromium chromedriver python3; do
    command -v "$tool" >/dev/null || {
        echo "tests/screenshots.sh: $tool is missing; Debian's packages are chromium, chromium-driver and python3." >&2
        exit 1
    }
done
cargo build --locked
log=$(mktemp)
target=${CARGO_TARGET_DIR:-target}
"$target/debug/tallyhook" demo --rate 5 >"$log" 2>&1 &
demo=$!
trap 'kill "$demo" 2>/dev/null || true; wait "$demo" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 100); do
    token=$(sed -n 's/.*(token \([A-Za-z0-9]*\)).*/\1/p' "$log" | head -n 1)
    [[ -z $token ]] || break
    sleep 0.2
done
admin=$(sed -n 's/^ *page[^h]*\(http:\/\/[0-9.:]*\).*/\1/p' "$log" | head -n 1)
[[ -n $token && -n $admin ]] || {
    cat "$log" >&2
    exit 1
}
sleep "${1:-75}"
python3 tests/screenshots.py "$admin" "$token" docs/images

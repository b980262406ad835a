#!/usr/bin/env bash
# Peak memory of the sidecar while clients hold connections, move bulk, or flood it (P8), and whether
# another client is served meanwhile.
#
#   scripts/memory.sh [WORD...]          default: every load; else those with such a word in their name
#
# Each load meets a fresh release binary with default limits, but for `limits.connections`. Prints a
# table, and ends with 1 where a load is over its bound, or the other client is not served.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --locked --release
ulimit -n "$(ulimit -Hn)"
exec python3 bench/memory.py target/release/authz-sidecar "$@"

#!/usr/bin/env bash
# Fuzzes what reads untrusted input, each target of fuzz/targets for a while.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]       default: 10 seconds for each target
#
# Before a release: scripts/fuzz.sh 3600. Begins with what is in fuzz/corpus, and with what earlier
# runs found, in fuzz/found. Of that, what reaches more code than fuzz/corpus does belongs there too:
#
#   fuzz/target/*/release/TARGET -merge=1 -use_counters=0 -max_len=256 fuzz/corpus/TARGET fuzz/found/TARGET
#
# What crashes a target is in fuzz/artifacts: make a test of it.
#
# Needs a nightly toolchain of rustup. Without sanitizers: the product has no unsafe code.
#
# One line a target: target=NAME seconds=N runs=N coverage=N
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-10}
shift || true
targets=("$@")
((${#targets[@]})) || targets=($(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2))

export PATH="$PWD/.cache/tools/bin:$PATH"
rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked --root .cache/tools cargo-fuzz

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo +nightly fuzz build --sanitizer none
for target in "${targets[@]}"; do
    mkdir -p "fuzz/found/$target"
    # What was found comes first: libFuzzer writes there. A second for one input is a hang.
    if ! cargo +nightly fuzz run --sanitizer none "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
        -dict="fuzz/words" >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "target=$target failed" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    ((runs > 0)) || { echo "target=$target did nothing" >&2; exit 1; }
    echo "target=$target seconds=$seconds runs=$runs coverage=$coverage"
done

#!/usr/bin/env bash
# Runs the wide simulation, or tells one of its schedules line by line. See docs/SIMULATION.md.
#
#   scripts/simulate.sh [COUNT [FIRST]]     default: 3000 schedules from seed 1
#   scripts/simulate.sh replay SEED
#
# SIMULATION_THREADS says how many threads it uses; by default as many as there are cores. It fails
# where a promise was broken.
set -euo pipefail
cd "$(dirname "$0")/.."

export SIMULATION_DRAWS=wide RUST_BACKTRACE=0
if [[ ${1:-} == replay ]]; then
    export SIMULATION_SEED=${2:?which seed?}
    test=replay
else
    export SIMULATION_SCHEDULES=${1:-3000} SIMULATION_SEED=${2:-1}
    test=p1_p2_p3_p4_hold_in_every_schedule
fi
exec cargo test --quiet --locked --release --test simulation "$test" -- --exact --nocapture

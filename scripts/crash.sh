#!/usr/bin/env bash
# Kills the sidecar under load, at named places and at random instants, and looks after each
# recovery whether rows, relationships, journal and what clients were told agree (P2, P3, P4).
#
#   scripts/crash.sh [KILLS]           default: 200; goes on until there are so many kills in all
#   scripts/crash.sh --faults FAULTS [KILLS]
#                                      old: what went wrong from the beginning, the default;
#                                      new: the service also replays, is late, lags and has storms;
#                                      or some of these by name: replay,late,lag,storm
#   scripts/crash.sh --plant COLUMN    plants a wrong of this column of the last line (orphans, lost,
#                                      stuck, taken); fails unless it rises, and no other
#   scripts/crash.sh total             adds up all that was run so far
#
# From the environment:
#   FAULTS=NAMES         as --faults
#   SEED=N               the run's seed; the same again goes on where that run stopped
#   ROUND=N              only this round of that seed, again and again, until it fails or KILLS
#   CONTROL=yes          kills a service that does the dual write itself, to see that orphans are found
#   JOURNAL=postgres     the journal is in PostgreSQL, not in SQLite
#   EXCLUSIVE=no         journal.exclusive_writer is false: unproven rows are reported, not undone
#   LANES=N              sidecars that are killed beside each other; default 8
#   SECONDS_AT_MOST=N    stops earlier
#   CRASH_DIRECTORY=DIR  logs, one line a round, and what failed rounds left; default target/crash
#   CRASH_BINARY=FILE    a release binary with the feature `failpoints`; else one is built
#
# Rounds in which the service broke L are void: printed, not counted, run again. A run with many of
# them fails.
#
# Last line, wrapped here:
#   kills=N operations=N orphans=N lost=N stuck=N taken=N recovery_p50_ms=N recovery_max_ms=N
set -euo pipefail
cd "$(dirname "$0")/.."

while [[ ${1:-} == --* ]]; do
    case $1 in
        --faults) export FAULTS=${2:?which?} ;;
        --plant) export PLANT=${2:?which?} ;;
        *) echo "usage: see the first lines of scripts/crash.sh" >&2; exit 2 ;;
    esac
    shift 2
done
export CRASH_DIRECTORY=${CRASH_DIRECTORY:-$PWD/target/crash}
if [[ ${1:-} == total ]]; then
    export CRASH_TOTAL=yes
else
    export KILLS=${1:-200}
    if [[ -z ${CRASH_BINARY:-} ]]; then
        # The same file as the shipped one's: kept under another name, and the shipped one put back.
        CRASH_BINARY=$PWD/target/release/authz-sidecar-failpoints
        cargo build --locked --quiet --release --features failpoints
        cp target/release/authz-sidecar "$CRASH_BINARY"
        cargo build --locked --quiet --release
    fi
    export AUTHZ_SIDECAR_BINARY=$CRASH_BINARY
fi
exec cargo test --locked --quiet --test crash_matrix

#!/usr/bin/env bash
# Prints how many creates share one sync of the journal, and what each waits, as ever more clients
# create at once on a disk whose syncs take 4 ms (tests/disk). Each creates GROUP_COMMIT_EACH keys (20).
#
#   scripts/group-commit.sh [CLIENTS,...]          default: 1,4,16,64,256
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --locked --release
export AUTHZ_SIDECAR_BINARY="$PWD/target/release/authz-sidecar"
export GROUP_COMMIT_CLIENTS=${1:-1,4,16,64,256} GROUP_COMMIT_EACH=${GROUP_COMMIT_EACH:-20}
cargo test --quiet --locked --test disk creates_share -- --nocapture | grep '^|'

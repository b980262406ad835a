#!/usr/bin/env bash
# Runs every check of the project, first the cheap ones, and stops at the first that fails.
#
#   scripts/test.sh [quick|full]          default: quick
#
# Installs what is missing: Python packages into .venv, tools of cargo into .cache/tools, system
# packages by apt-get where the user is root. Full adds cargo-deny, more of the simulation and of the core's model, half
# a million operations on one journal, a GiB each way, a recovery against the clock, the crash matrix,
# spellings before real servers, some seconds of fuzzing, the container image, memory under floods and a
# short benchmark to quick.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/install.sh
source scripts/lib/python.sh
source scripts/lib/step.sh

tier=${1:-quick}
[[ $tier == quick || $tier == full ]] || { echo "usage: scripts/test.sh [quick|full]" >&2; exit 2; }

export PYTHONDONTWRITEBYTECODE=1
export PATH="$PWD/.cache/tools/bin:$PATH"

tools() {
    need cargo rustup
    need cc gcc
    need git git
    need curl curl
    need wrk wrk
    need nginx nginx-light
    need node nodejs
    need setpriv util-linux
    need openssl openssl
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
        install_package postgresql "PostgreSQL's server is missing"
    if [[ $tier == full ]]; then
        need buildah buildah
        need podman podman
        need runc runc
    fi
}

# The advisories are a git repository elsewhere, which not every machine reaches: see CONTRIBUTING.md.
deny() {
    command -v cargo-deny >/dev/null || cargo install --quiet --locked --root .cache/tools cargo-deny
    cargo deny --locked check licenses bans sources
}

step "tools" tools
step "Python packages" python_packages
step "format" cargo fmt --all --check
step "mutations still fit" scripts/mutations.py --check
step "lints" cargo clippy --locked --all-targets -- -D warnings
# Programs that scripts run are no targets of `cargo test`, and so none of all.
step "lints of the programs" cargo clippy --locked --test crash_matrix --test differential -- -D warnings
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
if [[ $tier == full ]]; then step "licences, bans, sources" deny; fi
step "release build" cargo build --locked --release
# Tests that start the sidecar start the one that is shipped.
step "tests" env AUTHZ_SIDECAR_BINARY="$PWD/target/release/authz-sidecar" cargo test --locked
step "shipped configuration" target/release/authz-sidecar check config/agentex.yaml
step "demo" target/release/authz-sidecar demo --once
if [[ $tier == full ]]; then
    step "the model of the next core" env MODEL_SCHEDULES=20000 MODEL_SEED=30000001 \
        cargo test --quiet --locked --test design every_schedule
    step "simulation" env SIMULATION_SCHEDULES=20000 SIMULATION_SEED=100000 \
        cargo test --quiet --locked --test simulation every_schedule
    step "wide simulation" env SIMULATION_DRAWS=wide SIMULATION_SCHEDULES=10000 SIMULATION_SEED=1 \
        cargo test --quiet --locked --test simulation every_schedule
    step "recovery of a thousand operations" env RECOVERY_LIMIT_MS=2000 \
        AUTHZ_SIDECAR_BINARY="$PWD/target/release/authz-sidecar" cargo test --quiet --locked --test outage thousand
    step "retention" env RETENTION_OPERATIONS=500000 \
        cargo test --quiet --locked --test journal p8_however_many
    step "a GiB each way" env TRANSPARENCY_MIB=1024 \
        AUTHZ_SIDECAR_BINARY="$PWD/target/release/authz-sidecar" cargo test --quiet --locked --test transparency bulk
    step "crash matrix" scripts/crash.sh --faults old 200
    step "crash matrix with new faults" scripts/crash.sh --faults new 100
    step "spellings before real servers" env AUTHZ_SIDECAR_BINARY="$PWD/target/release/authz-sidecar" \
        scripts/differential.sh 2000
    step "fuzzing" scripts/fuzz.sh 10
    step "a naive sidecar is found out" env CONTROL=plain SERVERS=uvicorn-httptools scripts/differential.sh 300
    step "the default dialect before a loose router is found out" \
        env CONTROL=starlette SERVERS=node-loose scripts/differential.sh 1000
    step "container image" scripts/image.sh
    step "memory" scripts/memory.sh
    step "benchmark" scripts/bench.sh 1 2
fi
finish

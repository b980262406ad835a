#!/usr/bin/env bash
# Sends requests that can be read in more than one way through the sidecar to real servers, and
# compares what it took each for with the handler that ran (P5).
#
#   scripts/differential.sh [CASES]       default: 20000, to each server
#
# The servers: uvicorn with httptools and with h11, hypercorn, Node's http with two ways to take a
# path from a target, nginx before uvicorn, as the client spelt the target and normalised; and one that
# has the habits of many routers at once, before which the sidecar is in its strict dialect. Eight
# cases in ten are spellings of method, target and version, by a grammar and by mutation; one is a body
# that parsers read differently, of a create whose parent it names; one is a framing: lengths, codings,
# chunks, upgrades, with a create hidden behind them. Half of the cases are the same
# in every run.
#
# From the environment:
#   SEED=N              of the other half; printed, drawn by default
#   SERVERS="A B"       only these
#   CONTROL=plain       before each server stands a relay that compares targets as plain strings, to
#                       see that mismatches are found: fails where there is none
#   CONTROL=starlette   the sidecar is in its default dialect before every server: SERVERS=node-loose
#                       shows what that misses
#   AUTHZ_SIDECAR_BINARY=FILE   the sidecar; else a release is built
#
# A mismatch: a handler that creates or deletes and ran without intercept, by another rule's, for
# another parent, with another body, or for a request that was not sent as the program reads its own bytes
# (tests/differential/framing.rs); a registration or deregistration without its handler; an answer to
# another request, or none. Each is printed with its bytes; the command fails.
#
# One line a server: server=NAME cases=N handlers=N intercepted=N refused=N mismatches=N
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/install.sh
source scripts/lib/python.sh

export CASES=${1:-20000}
export PYTHONDONTWRITEBYTECODE=1
need node nodejs
need nginx nginx-light
need setpriv util-linux
python_packages
if [[ -z ${AUTHZ_SIDECAR_BINARY:-} ]]; then
    cargo build --locked --quiet --release
    export AUTHZ_SIDECAR_BINARY=$PWD/target/release/authz-sidecar
fi
exec cargo test --locked --quiet --test differential

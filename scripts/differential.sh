#!/usr/bin/env bash
# Sends requests that can be read in more than one way through the sidecar to real servers, and
# compares what it took each for with the handler that ran (P5).
#
#   scripts/differential.sh [CASES]       default: 20000, to each server
#
# The servers: uvicorn with httptools and with h11, hypercorn, Node's http with two ways to take a
# path from a target, nginx before uvicorn, as the client spelt the target and normalised; and one that
# has the habits of many routers at once, before which the sidecar is in its strict dialect. Of twelve
# cases eight are spellings of method, target and version, by a grammar and by mutation; one is a body
# that parsers read differently, of a create whose parent it names; one is a framing: lengths, codings,
# chunks, upgrades, with a create hidden behind them; two are sent over HTTP/2, frame by frame: the same
# spellings, and mischief with pseudo-headers, headers, credentials, lengths, data and trailers, with a
# create hidden wherever HTTP/1.1 might find one. Half of the cases are the same in every run.
#
# From the environment:
#   SEED=N              of the other half; printed, drawn by default
#   SERVERS="A B"       only these
#   CONTROL=plain       before each server stands a relay that compares targets as plain strings, and
#                       writes HTTP/2 down in HTTP/1.1 as it came, to see that mismatches are found:
#                       fails where there is none, of either
#   CONTROL=starlette   the sidecar is in its default dialect before every server: SERVERS=node-loose
#                       shows what that misses
#   AUTHZ_SIDECAR_BINARY=FILE   the sidecar; else a release is built
#
# A mismatch: a handler that creates or deletes and ran without intercept, by another rule's, for
# another parent, with another body, or for a request that was not sent as the program reads its own bytes
# (tests/differential/framing.rs, stream.rs); a create for another caller than authn was asked about; a
# registration or deregistration without its handler; an answer to another request, or none. Each is printed
# with its bytes; the command fails. It fails too where fewer than one in fifteen cases of HTTP/2 reach a handler
# that creates or deletes: what is all refused proves nothing.
#
# One line a server: server=NAME cases=N handlers=N intercepted=N refused=N h2=N mismatches=N
# h2 is how many of the handlers ran for a request of HTTP/2.
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

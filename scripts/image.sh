#!/usr/bin/env bash
# Builds the runtime stage of deploy/Dockerfile around the release binary, runs it as a pod would,
# and drives one create and one delete through it. Needs no registry: the stage starts from scratch.
#
#   scripts/image.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/install.sh

if ((EUID != 0)); then
    echo "the image's test needs root: it hands a directory to the container's user" >&2
    exit 1
fi
need buildah buildah
need podman podman
need runc runc
need curl curl
cargo build --quiet --release --locked

# What containers leave behind is as short-lived as this run.
dir=$(mktemp -d)
storage=(--root "$dir/storage" --runroot "$dir/run" --storage-driver vfs)
podman=(podman "${storage[@]}" --runtime runc --cgroup-manager cgroupfs --events-backend file)
world=
cleanup() {
    "${podman[@]}" rm --force --all --time 1 >/dev/null 2>&1 || true
    if [[ -n $world ]]; then kill "$world" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

fail() {
    echo "image: $*" >&2
    "${podman[@]}" logs sidecar >&2 2>/dev/null || true
    exit 1
}

# poll SECONDS COMMAND…: until the command succeeds.
poll() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# The Dockerfile's own instructions, with the build stage's product in place of the stage.
mkdir -p "$dir/context/config"
deploy/rootfs.sh target/release/authz-sidecar "$dir/context/rootfs"
cp config/agentex.yaml "$dir/context/config/"
sed -n '/^FROM scratch/,$ p' deploy/Dockerfile | sed 's|--from=build \(.*\)/rootfs/|\1rootfs/|' >"$dir/Dockerfile"
buildah "${storage[@]}" build --quiet --isolation chroot --format docker \
    --tag authz-sidecar --file "$dir/Dockerfile" "$dir/context" >/dev/null

PYTHONDONTWRITEBYTECODE=1 python3 tests/image/world.py >"$dir/world" &
world=$!
poll 10 test -s "$dir/world" || fail "the doubles don't start"
read -r service provider <"$dir/world"

# The shipped configuration, told only where its neighbours are. The file system is as the pod of
# deploy/kubernetes.yaml has it: read only, but for the journal's volume.
install -d -o 10001 -g 10001 -m 700 "$dir/journal"
"${podman[@]}" run --detach --name sidecar --network host \
    --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 \
    --read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges \
    --volume "$dir/journal:/var/lib/authz-sidecar" \
    --env AUTHZ_SIDECAR_LISTEN=127.0.0.1:0 \
    --env AUTHZ_SIDECAR_HEALTH=127.0.0.1:0 \
    --env AUTHZ_SIDECAR_ADMIN=127.0.0.1:0 \
    --env AUTHZ_SIDECAR_UPSTREAM="$service" \
    --env AUTHZ_SIDECAR_PRINCIPAL_AUTHN_URL="$provider/v1/authn" \
    --env AUTHZ_SIDECAR_AUTHZ_AGENTEX_URL="$provider" \
    localhost/authz-sidecar >/dev/null || fail "the container doesn't start"

listening() { "${podman[@]}" logs sidecar 2>&1 | grep '"listening"' >"$dir/listening"; }
poll 20 listening || fail "the sidecar doesn't listen"
address() { grep -o "\"$1\":\"[^\"]*\"" "$dir/listening" | cut -d'"' -f4; }
sidecar=http://$(address listen)
health=http://$(address health)

poll 10 curl --silent --fail --output "$dir/ready" "$health/readyz" || fail "/readyz is not 200"
PYTHONDONTWRITEBYTECODE=1 python3 tests/image/story.py "$sidecar" "$provider" || fail "the story failed"

pid=$("${podman[@]}" inspect --format '{{.State.Pid}}' sidecar)
uids=$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$pid/status")
[[ $uids == "10001 10001 10001 10001" ]] || fail "runs as the users $uids"

"${podman[@]}" kill --signal TERM sidecar >/dev/null
code=$(timeout 40 "${podman[@]}" wait sidecar) || fail "SIGTERM doesn't stop it"
[[ $code == 0 ]] || fail "SIGTERM ends it with $code"
echo "image: a create, a delete, /readyz, user 10001, SIGTERM: all as promised"

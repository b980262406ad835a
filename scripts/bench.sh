#!/usr/bin/env bash
# CPU time per pass-through request: the sidecar beside nginx and a raw TCP relay.
#
#   scripts/bench.sh [ROUNDS] [SECONDS]        default: 5 rounds of 5 s each
#
# Each proxy is pinned to one core with one worker; the service (nginx, a fixed small JSON answer)
# and wrk (32 connections) share the others. The proxies take turns within each round, so that
# whatever else the machine does meets all of them. CPU time is utime and stime of the proxy's
# process, over the requests that wrk counted; the table shows the median round.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
seconds=${2:-5}
needed=()
command -v wrk >/dev/null || needed+=(wrk)
command -v nginx >/dev/null || needed+=(nginx-light)
if ((${#needed[@]})); then
    apt-get install -y --no-install-recommends "${needed[@]}" >/dev/null
fi
cargo build --quiet --release --example passthrough --example relay

dir=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
backend=$(free_port)
nginx=$(free_port)
sidecar=$(free_port)
relay=$(free_port)
last=$(($(nproc) - 1))
others=$((last > 0))-$last

# nginx NAME CORES SERVER-BLOCK
start_nginx() {
    sed -e "s|@DIR@|$dir|; s|@NAME@|$1|; s|@BACKEND@|$backend|; s|@SERVER@|$3|" bench/nginx.conf >"$dir/$1.conf"
    taskset -c "$2" nginx -e "$dir/$1.log" -c "$dir/$1.conf" &
    pids+=($!)
}
start_nginx service "$others" "server { listen 127.0.0.1:$backend; location / { default_type application/json; return 200 '{\"id\":\"5f0c\",\"agent_id\":\"a1\",\"name\":\"key\",\"api_key_type\":\"external\"}'; } }"
start_nginx nginx 0 "server { listen 127.0.0.1:$nginx; location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host \$http_host; proxy_set_header X-Forwarded-For \$remote_addr; proxy_set_header X-Forwarded-Proto http; proxy_buffering off; } }"
nginx_master=${pids[1]}
taskset -c 0 target/release/examples/passthrough "127.0.0.1:$sidecar" "http://127.0.0.1:$backend" 1 &
pids+=($!)
sidecar_pid=$!
taskset -c 0 target/release/examples/relay "127.0.0.1:$relay" "127.0.0.1:$backend" &
pids+=($!)
relay_pid=$!
sleep 1
nginx_pid=$(pgrep -P "$nginx_master")

declare -A port=([relay]=$relay [nginx]=$nginx [sidecar]=$sidecar)
declare -A process=([relay]=$relay_pid [nginx]=$nginx_pid [sidecar]=$sidecar_pid)

# User and system ticks of a process, all threads.
ticks() { awk '{ sub(/^.*\) /, ""); print $12, $13 }' "/proc/$1/stat"; }
load() { taskset -c "$others" wrk -t1 -c32 -d"${2}s" -H "Authorization: Bearer 0123456789" "http://127.0.0.1:${port[$1]}/agent_api_keys/5f0c"; }

for name in relay nginx sidecar; do load $name 1 >/dev/null; done
for ((round = 1; round <= rounds; round++)); do
    for name in relay nginx sidecar; do
        read -r user system < <(ticks "${process[$name]}")
        load $name "$seconds" >"$dir/wrk"
        read -r user_after system_after < <(ticks "${process[$name]}")
        requests=$(awk '/requests in/ { print $1 }' "$dir/wrk")
        if grep -q 'Non-2xx\|Socket errors' "$dir/wrk"; then cat "$dir/wrk"; exit 1; fi
        echo "$name $((user_after - user)) $((system_after - system)) $requests $seconds" >>"$dir/rounds"
    done
done

python3 - "$dir/rounds" "$(getconf CLK_TCK)" <<'PYTHON'
import collections
import statistics
import sys

rows = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, user, system, requests, seconds = line.split()
    scale = 1e6 / int(sys.argv[2]) / int(requests)
    rows[name].append((int(user) * scale, int(system) * scale, int(requests) / float(seconds)))
total = {name: [u + s for u, s, _ in row] for name, row in rows.items()}
ratio = lambda name: statistics.median(a / b for a, b in zip(total[name], total["nginx"]))
print("| proxy | user µs | system µs | CPU µs per request | min to max | × nginx | requests/s |")
print("|---|---|---|---|---|---|---|")
for name, row in rows.items():
    user, system, rate = (statistics.median(column) for column in zip(*row))
    spread = f"{min(total[name]):.1f} to {max(total[name]):.1f}"
    print(f"| {name} | {user:.1f} | {system:.1f} | {statistics.median(total[name]):.1f} | {spread} | {ratio(name):.2f} | {rate:,.0f} |")
PYTHON

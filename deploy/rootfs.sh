#!/usr/bin/env bash
# Lays out all that the runtime image holds beside its configuration: the binary, the shared
# libraries that it loads, the certificates of public authorities, and a user to run as.
#
#   deploy/rootfs.sh BINARY DIRECTORY
#
# The Dockerfile's build stage runs it, and so does scripts/image.sh.
set -euo pipefail

binary=$1
root=$2
user=10001

install -D -m 755 "$binary" "$root/usr/local/bin/authz-sidecar"
# Each library under the path that the loader looks for; the loader itself is among them.
ldd "$binary" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    install -D -m 755 "$(realpath "$library")" "$root$library"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
echo "authz-sidecar:x:$user:$user::/nonexistent:/sbin/nologin" >"$root/etc/passwd"
echo "authz-sidecar:x:$user:" >"$root/etc/group"
# What reads the system's name services without their configuration looks in DNS first.
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
install -d -m 700 "$root/var/lib/authz-sidecar"

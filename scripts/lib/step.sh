# Sourced: named steps with their times, and a summary however the script ends.

steps=0
current=
began=$SECONDS

# step NAME COMMAND…: stops the script if the command fails.
#
# The command runs in a shell of its own, since bash ignores `set -e` in a function whose result is
# tested.
step() {
    current=$1
    shift
    local start=$SECONDS
    printf '\n=== %s\n' "$current"
    (set -e; "$@")
    printf '=== %s: ok, %d s\n' "$current" "$((SECONDS - start))"
    current=
    steps=$((steps + 1))
}

finish() {
    printf '\nPASSED: %d steps in %d s (%s)\n' "$steps" "$((SECONDS - began))" "$tier"
}

on_exit() {
    local code=$?
    if [[ -n $current ]]; then
        printf '\nFAILED: %s (%d steps passed before it), %d s (%s)\n' \
            "$current" "$steps" "$((SECONDS - began))" "$tier" >&2
    fi
    exit "$code"
}
trap on_exit EXIT

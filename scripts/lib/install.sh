# Sourced: what a script needs is there, or is installed, or the script says how to install it.

updated=

# need PROGRAM PACKAGE: the program, from the Debian package if it is missing.
need() {
    command -v "$1" >/dev/null && return
    install_package "$2" "$1 is missing"
}

# install_package PACKAGE WHY
install_package() {
    local package=$1 why=$2
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "$why: install the package $package (apt-get install $package)" >&2
        exit 1
    fi
    echo "$why: installing $package"
    export DEBIAN_FRONTEND=noninteractive
    if [[ -z $updated ]]; then
        apt-get update -qq
        updated=yes
    fi
    apt-get install -qq -y --no-install-recommends "$package" >/dev/null
}

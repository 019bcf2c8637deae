#!/bin/sh
# Installs Debian or Ubuntu packages without questions, with sudo where this user is not root.
set -eu

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        echo "Installing $packages needs root, and sudo is not here:" \
            "run 'apt-get install $packages' as root, then run this again." >&2
        exit 1
    fi
}

packages="$*"
echo "Installing $packages with apt"
as_root apt-get update -qq || echo "apt-get update failed; going on with the package lists that are here" >&2
as_root apt-get install -qq -y --no-install-recommends "$@" >/dev/null

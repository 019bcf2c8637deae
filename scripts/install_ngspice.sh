#!/bin/sh
# Installs ngspice and its shared library with apt or Homebrew; does nothing where both are here.
set -eu

has_library() {
    for directory in /usr/lib /usr/lib/* /usr/lib64 /usr/local/lib /opt/homebrew/lib /home/linuxbrew/.linuxbrew/lib; do
        for file in "$directory"/libngspice.so* "$directory"/libngspice*.dylib; do
            if [ -e "$file" ]; then
                return 0
            fi
        done
    done
    if [ -n "${NGSPICE_LIBRARY_PATH:-}" ]; then
        [ -e "$NGSPICE_LIBRARY_PATH" ]
    else
        ldconfig -p 2>/dev/null | grep -q libngspice
    fi
}

complete() {
    command -v ngspice >/dev/null 2>&1 && has_library
}

if complete; then
    exit 0
fi
if command -v apt-get >/dev/null 2>&1; then
    "$(dirname "$0")/apt_install.sh" ngspice libngspice0
elif command -v brew >/dev/null 2>&1; then
    echo "Installing ngspice and libngspice with Homebrew"
    brew install --quiet ngspice libngspice
else
    echo "ngspice or its shared library is missing, and neither apt nor Homebrew is here to install them:" \
        "install both (see https://ngspice.sourceforge.io), then run this again." >&2
    exit 1
fi
if ! complete; then
    echo "ngspice or its shared library is still missing after the installation:" \
        "check that 'ngspice --version' runs and where libngspice lies (NGSPICE_LIBRARY_PATH may name it)." >&2
    exit 1
fi

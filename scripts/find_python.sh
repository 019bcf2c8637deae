#!/bin/sh
# Prints the command of a Python that is new enough and can make a virtual environment.
# A name on the PATH proves nothing (version managers leave stubs behind), so every candidate is run.
set -eu

usable() {
    "$1" -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1
}

can_make_venvs() {
    "$1" -c "import venv, ensurepip" >/dev/null 2>&1
}

first() {
    for python in python3.13 python3.12 python3.11 python3; do
        if usable "$python" && "$@" "$python"; then
            echo "$python"
            return
        fi
    done
    return 1
}

if first can_make_venvs; then
    exit 0
fi
if ! python=$(first true); then
    echo "No Python of version 3.11 or newer was found: install one (for example 'apt-get install python3 python3-venv'" \
        "or 'brew install python@3.13'), then run this again." >&2
    exit 1
fi
# Debian and Ubuntu cut ensurepip out of Python into a package of its own.
version=$("$python" -c "import sys; print('%d.%d' % sys.version_info[:2])")
if command -v apt-get >/dev/null 2>&1; then
    "$(dirname "$0")/apt_install.sh" "python$version-venv" >&2
fi
if can_make_venvs "$python"; then
    echo "$python"
else
    echo "$python cannot make virtual environments, because its ensurepip module is missing:" \
        "install the package python$version-venv, then run this again." >&2
    exit 1
fi

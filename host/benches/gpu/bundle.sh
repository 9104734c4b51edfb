#!/usr/bin/env bash
# One archive with all that a machine with a CUDA GPU and PyTorch 2.11.0 needs to check and time Coldstart: the program and the
# strategies without symbols, the scripts beside which it is timed, and the JPEG copy of CIFAR-10.
#
#   host/benches/gpu/bundle.sh [ARCHIVE]         target/gpu-bundle.tar.xz unless told otherwise; needs COLDSTART_DATA, and the
#                                                program built in target/release, or in the folder that BUILT names
#
# There: tar -xf gpu-bundle.tar.xz (or, without xz, python3 -m tarfile -e gpu-bundle.tar.xz), then gpu-bundle/run.sh cuda
#
# Fails, and leaves no archive, where it is larger than LIMIT MiB, 64 unless told otherwise.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
archive=$(realpath -m "${1:-$root/target/gpu-bundle.tar.xz}")
built=${BUILT:-$root/target/release}
limit=${LIMIT:-64}
images=${COLDSTART_DATA:?where the image sets are}/cifar10/cifar10_jpeg.tar.gz

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
folder=$stage/gpu-bundle
mkdir -p "$folder/target/release" "$folder/host/benches" "$folder/data/cifar10" "$(dirname "$archive")"
cp "$built/coldstart" "$folder/target/release"
# The strategies that come along, and not those that the tests are made with.
for strategy in "$root"/plugins/*/; do
  cp "$built/libcoldstart_$(basename "$strategy" | tr - _).so" "$folder/target/release"
done
strip "$folder"/target/release/*
cp -r "$root/host/benches/moco" "$root/host/benches/beside" "$folder/host/benches"
mkdir "$folder/configs"
cp "$root"/configs/*.toml "$folder/configs"
cp "$images" "$folder/data/cifar10"
cp "$root/host/benches/gpu/run.sh" "$folder"
rm -f "$archive"
tar -C "$stage" --sort=name --owner=0 --group=0 -c gpu-bundle | xz -T0 -6 > "$stage/archive"
size=$(($(stat -c %s "$stage/archive") >> 20))
[ "$size" -lt "$limit" ] || { echo "the archive has $size MiB, and $limit or more are too many" >&2; exit 1; }
mv "$stage/archive" "$archive"
echo "$archive: $size MiB"

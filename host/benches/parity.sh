#!/usr/bin/env bash
# bf16 beside f32: one ResNet-18 of width 16 on all of Fashion-MNIST and of the JPEG copy of CIFAR-10, each with three seeds:
#
#   host/benches/parity.sh [OUT] [EPOCHS] [DEVICE]
#
# Needs the built program in target/release or in COLDSTART, and COLDSTART_DATA. OUT is runs/parity, EPOCHS 5 and DEVICE auto unless
# told otherwise. Everything is labelled at once; a seed gives both formats the same weights, order and augmentation. Prints test
# accuracies and their differences; a run that is there already is not run again.
set -euo pipefail
out=${1:-runs/parity}
epochs=${2:-5}
device=${3:-auto}
root=$(cd "$(dirname "$0")/../.." && pwd)
coldstart=${COLDSTART:-$root/target/release/coldstart}
mkdir -p "$out"

declare -A data=(
  [fashion-mnist]='{ kind = "fashion-mnist", path = "fashion-mnist" }'
  [cifar10-jpeg]='{ kind = "folder", path = "cifar10/cifar10_jpeg.tar.gz" }'
)
declare -A size=([fashion-mnist]=60000 [cifar10-jpeg]=50000)

for seed in 1 2 3; do
  for name in fashion-mnist cifar10-jpeg; do
    for precision in bf16 f32; do
      run=$out/$name-$precision-$seed
      [ -e "$run/report.html" ] && continue
      rm -rf "$run"
      "$coldstart" run "$root/configs/fashion-mnist-entropy.toml" --device "$device" --out "$run" -s seed=$seed \
        -s dataset="${data[$name]}" -s 'model={ backbone = "resnet18", width = 16 }' -s training.epochs="$epochs" \
        -s training.precision=$precision -s initial.size="${size[$name]}" -s query.rounds=0 > /dev/null 2> "$run.log"
    done
  done
done

python3 - "$out" << 'PYTHON'
import csv, math, pathlib, sys

out = pathlib.Path(sys.argv[1])
accuracy = lambda run: 100 * float(next(csv.DictReader(open(out / run / "results.csv")))["accuracy"])
print("data\tprecision\tseed 1\tseed 2\tseed 3\tmean")
for name in ("fashion-mnist", "cifar10-jpeg"):
    of = {precision: [accuracy(f"{name}-{precision}-{seed}") for seed in (1, 2, 3)] for precision in ("bf16", "f32")}
    of["difference"] = [a - b for a, b in zip(of["bf16"], of["f32"])]
    for what, row in of.items():
        mean = sum(row) / 3
        # Student's t for two degrees of freedom.
        half = 4.303 * math.sqrt(sum((x - mean) ** 2 for x in row) / 2 / 3)
        print("\t".join([name, what, *(f"{x:.2f}" for x in row), f"{mean:.2f} ± {half:.2f}"]))
PYTHON

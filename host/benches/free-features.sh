#!/usr/bin/env bash
# What choosing by features that cost nothing keeps of what choosing by self-supervised ones gains: initial sets of 50 images of
# Fashion-MNIST, five strategies, four kinds of features, three seeds, each measured by a linear probe on the same MoCo v2:
#
#   host/benches/free-features.sh [OUT] [SIZE]
#
# Needs the built program in target/release or in COLDSTART, and COLDSTART_DATA. OUT is runs/free-features and SIZE 50 unless told
# otherwise; a run that is there already is not run again. Prints test accuracies, and the differences to random, paired by seed.
set -euo pipefail
export out=${1:-runs/free-features} size=${2:-50}
root=$(cd "$(dirname "$0")/../.." && pwd)
export coldstart=${COLDSTART:-$root/target/release/coldstart} config=$root/configs/fashion-mnist-linear-probe.toml
mkdir -p "$out"

run() {
  local strategy=$1 features=$2 seed=$3 run=$out/$1-$2-$3
  [ -e "$run/report.html" ] && return
  rm -rf "$run"
  # One MoCo v2 for all: the luck of its training is not the question.
  local settings=(-s threads=1 -s representation.seed=1 -s initial.strategy="$strategy" -s initial.size="$size" -s query.rounds=0)
  [ "$features" = moco-v2 ] || settings+=(-s initial.representation.method="$features")
  "$coldstart" --cache "$out/cache" run "$config" "${settings[@]}" -s seed="$seed" --out "$run" > /dev/null 2> "$run.log"
}
export -f run

run random moco-v2 1
for seed in 1 2 3; do
  echo random moco-v2 "$seed"
  for strategy in kmeans typiclust probcover max-herding rdss; do
    for features in moco-v2 pixels random-network handcrafted; do
      echo "$strategy" "$features" "$seed"
    done
  done
done | xargs -P 2 -L 1 bash -c 'run "$@"' _

python3 - "$out" << 'PYTHON'
import csv, math, pathlib, sys

out = pathlib.Path(sys.argv[1])
accuracy = lambda *run: 100 * float(next(csv.DictReader(open(out / "-".join(map(str, run)) / "results.csv")))["accuracy"])
# Student's t for two degrees of freedom.
def interval(row):
    mean = sum(row) / 3
    return f"{mean:.1f} ± {4.303 * math.sqrt(sum((x - mean) ** 2 for x in row) / 2 / 3):.1f}"
random = [accuracy("random", "moco-v2", seed) for seed in (1, 2, 3)]
print("strategy\tfeatures\taccuracy\tabove random, paired")
print(f"random\t\t{interval(random)}\t")
for strategy in ("kmeans", "typiclust", "probcover", "max-herding", "rdss"):
    for features in ("moco-v2", "pixels", "random-network", "handcrafted"):
        row = [accuracy(strategy, features, seed) for seed in (1, 2, 3)]
        print(f"{strategy}\t{features}\t{interval(row)}\t{interval([a - b for a, b in zip(row, random)])}")
PYTHON

#!/usr/bin/env bash
# What choosing by features that cost nothing keeps of what choosing by self-supervised ones gains: initial sets of 50 images of
# Fashion-MNIST, five strategies, four kinds of features, five seeds, each measured by a linear probe on the same MoCo v2:
#
#   host/benches/free-features.sh [OUT] [SIZE]
#
# `probcover` runs twice: with its default radius, and with the paper's, of pure balls (`purity = 0.95`).
# Needs the built program in target/release or in COLDSTART, and COLDSTART_DATA. OUT is runs/free-features and SIZE 50 unless told
# otherwise; a run that is there already is not run again. Prints test accuracies, and the differences to random, paired by seed.
set -euo pipefail
export out=${1:-runs/free-features} size=${2:-50}
root=$(cd "$(dirname "$0")/../.." && pwd)
export coldstart=${COLDSTART:-$root/target/release/coldstart} config=$root/configs/fashion-mnist-linear-probe.toml
export arms="kmeans typiclust probcover probcover:pure max-herding rdss" kinds="moco-v2 pixels random-network handcrafted"
mkdir -p "$out"

# ARM is a strategy, or a strategy with `:pure` behind it.
run() {
  local arm=$1 features=$2 seed=$3 run=$out/$1-$2-$3
  [ -e "$run/report.html" ] && return
  rm -rf "$run"
  # One MoCo v2 for all: the luck of its training is not the question.
  local settings=(-s threads=1 -s representation.seed=1 -s initial.strategy="${arm%:pure}" -s initial.size="$size" -s query.rounds=0)
  [ "$arm" = "${arm%:pure}" ] || settings+=(-s 'initial.params={ purity = 0.95 }')
  [ "$features" = moco-v2 ] || settings+=(-s initial.representation.method="$features")
  "$coldstart" --cache "$out/cache" run "$config" "${settings[@]}" -s seed="$seed" --out "$run" > /dev/null 2> "$run.log"
}
export -f run

run random moco-v2 1
for seed in 1 2 3 4 5; do
  echo random moco-v2 "$seed"
  for arm in $arms; do
    for features in $kinds; do
      echo "$arm" "$features" "$seed"
    done
  done
done | xargs -P 2 -L 1 bash -c 'run "$@"' _

python3 - "$out" << 'PYTHON'
import csv, math, os, pathlib, sys

OUT = pathlib.Path(sys.argv[1])
SEEDS = (1, 2, 3, 4, 5)
STUDENT_T = 2.776  # 95 %, four degrees of freedom

def accuracy(arm, features, seed):
    results = OUT / f"{arm}-{features}-{seed}" / "results.csv"
    return 100 * float(next(csv.DictReader(results.open()))["accuracy"])

def interval(values):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.1f} ± {STUDENT_T * math.sqrt(variance / len(values)):.1f}"

random = [accuracy("random", "moco-v2", seed) for seed in SEEDS]
print("strategy\tfeatures\taccuracy\tabove random, paired")
print(f"random\t\t{interval(random)}\t")
for arm in os.environ["arms"].split():
    for features in os.environ["kinds"].split():
        reached = [accuracy(arm, features, seed) for seed in SEEDS]
        above = [one - other for one, other in zip(reached, random)]
        print(f"{arm}\t{features}\t{interval(reached)}\t{interval(above)}")
PYTHON

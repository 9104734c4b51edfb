#!/usr/bin/env bash
# How long a whole study takes with a linear probe: ten arms (five query strategies, after random initial images and after those of
# first-choice), 20 rounds, 5 seeds, on Fashion-MNIST, two runs side by side with a thread each:
#
#   host/benches/probe-study.sh [OUT]
#
# Needs the built program in target/release or in COLDSTART, and COLDSTART_DATA. OUT is runs/probe-study unless told otherwise and
# must not exist yet. Prints the seconds, and writes OUT/report.html over all 50 runs.
set -euo pipefail
out=${1:-runs/probe-study}
root=$(cd "$(dirname "$0")/../.." && pwd)
export coldstart=${COLDSTART:-$root/target/release/coldstart} config=$root/configs/fashion-mnist-linear-probe.toml out
mkdir "$out"

run() {
  local initial=$1 query=$2 seed=$3 settings=(-s query.rounds=20 -s query.size=10 -s threads=1)
  # One representation and one pretext for all seeds, as a study of strategies shares them.
  settings+=(-s representation.seed=1 -s initial.strategy="$initial" -s query.strategy="$query" -s seed="$seed")
  [ "$initial" = first-choice ] && settings+=(-s 'initial.params={ clusters = 20, epochs = 1, seed = 1 }')
  [ "$query" = pt4al ] && settings+=(-s 'query.params={ groups = 21, epochs = 1, seed = 1 }')
  "$coldstart" --cache "$out/cache" run "$config" "${settings[@]}" --out "$out/$initial-$query-$seed" > /dev/null 2> "$out/$initial-$query-$seed.log"
}
export -f run

# What is shared is trained first, and timed apart: two runs at once would wait for each other.
run first-choice pt4al 1
echo "with the pretexts, the first run took $SECONDS s"
SECONDS=0
for seed in 1 2 3 4 5; do
  for initial in random first-choice; do
    for query in random entropy margin least-confidence pt4al; do
      [ "$initial-$query-$seed" = first-choice-pt4al-1 ] || echo "$initial $query $seed"
    done
  done
done | xargs -P 2 -L 1 bash -c 'run "$@"' _
echo "the 49 others took $SECONDS s"
"$coldstart" report "$out"/*-[1-5] -o "$out/report.html"

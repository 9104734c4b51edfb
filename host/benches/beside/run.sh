#!/usr/bin/env bash
# The program beside plain PyTorch and lightly, one after the other on the same machine:
#
#   host/benches/beside/run.sh DEVICE [OUT] [WIDTH...]
#
# DEVICE is cuda, cuda:N or cpu; OUT is runs/beside and WIDTH 64 and 16 unless told otherwise. Needs the built program in
# target/release or in COLDSTART, and in PYTHON (else python3) a python with PyTorch 2.11.0, torchvision and lightly. Writes every
# line to OUT/raw.jsonl, what it comes to to OUT/table.tsv, and prints that. The program is timed before and after each of the
# others, so that a machine that slows down shows.
set -euo pipefail
device=${1:?which device: cuda, cuda:N or cpu}
out=${2:-runs/beside}
[ $# -gt 2 ] && widths=("${@:3}") || widths=(64 16)
root=$(cd "$(dirname "$0")/../../.." && pwd)
here=$root/host/benches/beside
coldstart=${COLDSTART:-$root/target/release/coldstart}
python=${PYTHON:-python3}
mkdir -p "$out"
: > "$out/raw.jsonl"

ours() {
  "$coldstart" bench "$@" --device "$device" --repeats "$repeats" --json > "$out/bench.json"
  "$python" -c 'import json, sys; [print(json.dumps({"what": "coldstart", **case})) for case in json.load(sys.stdin)["cases"]]' \
    < "$out/bench.json" >> "$out/raw.jsonl"
}

for width in "${widths[@]}"; do
  repeats=$([ "${device%%:*}" = cuda ] && echo 100 || echo $((width > 32 ? 6 : 20)))
  cases=("train resnet18-$width" "predict resnet18-$width" "moco-v2 resnet18-$width" "rotation resnet18-$width")
  ours "${cases[@]}"
  "$python" "$here/pytorch.py" "$device" --width "$width" --steps "$repeats" >> "$out/raw.jsonl"
  ours "${cases[@]:0:2}"
  "$python" "$here/pretexts.py" "$device" --width "$width" --steps $(((repeats + 1) / 2)) >> "$out/raw.jsonl"
  "$python" "$root/host/benches/moco/pytorch.py" "$device" $(((repeats + 1) / 2)) --width "$width" >> "$out/raw.jsonl"
  ours "${cases[@]:2}"
done

"$python" - "$out" << 'PYTHON'
import collections, json, pathlib, statistics, sys

out = pathlib.Path(sys.argv[1])
CASES = {"users": "train", "tuned": "train", "bound": "train", "predict users": "predict", "predict tuned": "predict",
         "lightly": "moco-v2", "plain PyTorch": "moco-v2", "rotation users": "rotation", "rotation tuned": "rotation"}
speeds = collections.defaultdict(list)
for line in map(json.loads, (out / "raw.jsonl").read_text().splitlines()):
    if line["what"] == "coldstart":
        case, network, _ = line["case"].split()
        speeds[case, int(network.split("-")[1]), "coldstart"].append(line["images_per_second"])
    else:
        speeds[CASES[line["what"]], line["width"], line["what"]].append(line["images_per_second"])
rows = ["case\twidth\twhat\timages/s\tcoldstart images/s\tratio"]
for (case, width, what), of in speeds.items():
    if what != "coldstart":
        ours = statistics.mean(speeds[case, width, "coldstart"])
        rows.append(f"{case}\t{width}\t{what}\t{of[0]:.0f}\t{ours:.0f}\t{ours / of[0]:.2f}")
(out / "table.tsv").write_text("\n".join(rows) + "\n")
print("\n".join(rows))
PYTHON

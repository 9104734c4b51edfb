#!/usr/bin/env bash
# All checks and benches of a bundle on a machine with PyTorch 2.11.0, in one go, into one file:
#
#   ./run.sh DEVICE [quick|full] [OUT]
#
# DEVICE is cuda, cuda:N or cpu. `quick` (the default) takes some minutes on a GPU: the standard cases beside plain PyTorch, eager
# and, for MoCo, compiled; five epochs of MoCo; one round of a run with each precision. `full` also trains MoCo for its 200 epochs
# and runs PT4AL's ten rounds of 1000 labels, beside random groups and random images. On the CPU `quick` is a rehearsal of the script with networks of
# width 4. Writes OUT/result.json (OUT is ./out unless told otherwise); a step that fails is a line in it, and the others go on.
set -uo pipefail
device=${1:?which device: cuda, cuda:N or cpu}
extent=${2:-quick}
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "${3:-$here/out}")
python=${PYTHON:-python3}
export COLDSTART=$here/target/release/coldstart COLDSTART_DATA=$here/data COLDSTART_CACHE=$out/cache PYTHON=$python
torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])') || exit 1
export LD_LIBRARY_PATH=$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
mkdir -p "$out"
cd "$here" || exit 1
[ "$device" = cpu ] && width=4 || width=64

# step NAME COMMAND...: its standard output and how it ended become a part of the result.
step() {
  local name=$1 start=$SECONDS
  shift
  echo "$name ..." >&2
  "$@" > "$out/$name.out" 2> "$out/$name.err"
  local code=$?
  echo "{\"step\": \"$name\", \"code\": $code, \"seconds\": $((SECONDS - start))}" >> "$out/steps.jsonl"
  [ $code = 0 ] || { echo "$name failed ($code):" >&2; tail -n 5 "$out/$name.err" >&2; }
}

experiment() {
  local name=$1
  shift
  step "$name" "$COLDSTART" run "$@" --device "$device" --out "$out/runs/$name"
}

rm -rf "$out/steps.jsonl" "$out/runs"
jpeg=(-s 'dataset={ kind = "folder", path = "cifar10/cifar10_jpeg.tar.gz" }')
step doctor "$COLDSTART" doctor
if [ "$device" = cpu ]; then
  step bench "$COLDSTART" bench convnet-32 linear-probe --repeats 3 --json --device cpu
else
  step bench "$COLDSTART" bench --json --device "$device"
fi
for w in $([ "$device" = cpu ] && echo 4 || echo 64 16); do
  step "pytorch-$w" "$python" host/benches/beside/pytorch.py "$device" --width "$w" --steps $([ "$device" = cpu ] && echo 3 || echo 100)
  step "rotation-$w" "$python" host/benches/beside/pretexts.py "$device" --width "$w" --only "rotation users" "rotation tuned" \
    --steps $([ "$device" = cpu ] && echo 2 || echo 50)
done
step moco host/benches/moco/run.sh "$device" $([ "$device" = cpu ] && echo 1 || echo 5) "$width" "$out/moco"
for precision in bf16 f32; do
  experiment "run-$precision" configs/cifar10-jpeg-entropy.toml -s query.rounds=1 -s training.precision=$precision \
    -s model.backbone=resnet18 -s model.width="$width" -s initial.size=200
done
if [ "$extent" = full ]; then
  step moco-200 host/benches/moco/run.sh "$device" 200 "$width" "$out/moco-200"
  protocol=(-s initial.size=1000 -s query.size=1000 -s query.rounds=9 -s model.backbone=resnet18 -s model.width="$width"
    -s training.epochs=200)
  pt4al='{ groups = 10, epochs = 15 }'
  experiment pt4al configs/cifar10-pt4al.toml "${jpeg[@]}" "${protocol[@]}" -s initial.params="$pt4al" -s query.params="$pt4al"
  unordered='{ groups = 10, epochs = 15, order = "random" }'
  experiment pt4al-unordered configs/cifar10-pt4al.toml "${jpeg[@]}" "${protocol[@]}" -s initial.params="$unordered" \
    -s query.params="$unordered"
  experiment random configs/cifar10-pt4al.toml "${jpeg[@]}" "${protocol[@]}" -s initial.strategy=random -s query.strategy=random \
    -s initial.params='{}' -s query.params='{}'
fi

"$python" - "$out" << 'PYTHON'
import csv, json, pathlib, sys

out = pathlib.Path(sys.argv[1])


def said(step):
    """A step's output: JSON, lines of JSON, or text."""
    text = (out / f"{step}.out").read_text()
    for read in (json.loads, lambda text: [json.loads(line) for line in text.splitlines()]):
        try:
            return read(text)
        except ValueError:
            pass
    return text


steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
for step in steps:
    step["said"] = said(step["step"])
    if step["code"]:
        step["error"] = (out / f"{step['step']}.err").read_text()[-2000:]
    run = out / "runs" / step["step"]
    if (run / "results.csv").exists():
        step["results"] = list(csv.DictReader((run / "results.csv").open()))
        step["timings"] = [json.loads(file.read_text()) for file in sorted(run.glob("rounds/*/timings.json"))]
    for name in ("moco", "moco-200"):
        if step["step"] == name and (out / name / "result.json").exists():
            step["result"] = json.loads((out / name / "result.json").read_text())
(out / "result.json").write_text(json.dumps({"steps": steps}, indent=2))
failed = [step["step"] for step in steps if step["code"]]
print(f"{out / 'result.json'}: {len(steps)} steps, failed: {', '.join(failed) or 'none'}")
sys.exit(bool(failed))
PYTHON

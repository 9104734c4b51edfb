#!/usr/bin/env bash
# MoCo v2 with the published CIFAR settings on the JPEG copy of CIFAR-10, and the speed of its step beside plain PyTorch, one
# after the other on the same machine:
#
#   host/benches/moco/run.sh DEVICE [EPOCHS] [WIDTH] [OUT]
#
# DEVICE is cuda, cuda:N or cpu; EPOCHS 200 and WIDTH 64 unless told otherwise. Needs the built program beside it or in
# COLDSTART, COLDSTART_DATA, and a python with PyTorch 2.11.0 in PYTHON (else python3). Writes OUT/result.json (OUT is
# runs/moco unless told otherwise). On the CPU: `run.sh cpu 1 8` is a rehearsal and says nothing about quality.
set -euo pipefail
device=${1:?which device: cuda, cuda:N or cpu}
epochs=${2:-200}
width=${3:-64}
out=${4:-runs/moco}
root=$(cd "$(dirname "$0")/../../.." && pwd)
coldstart=${COLDSTART:-$root/target/release/coldstart}
python=${PYTHON:-python3}
steps=$([ "${device%%:*}" = cuda ] && echo 200 || echo 5)
compiled=$([ "${device%%:*}" = cuda ] && echo yes || echo no)

mkdir -p "$out"
"$python" "$root/host/benches/moco/pytorch.py" "$device" "$steps" --width "$width" > "$out/pytorch.json"
if [ "$compiled" = yes ]; then
  "$python" "$root/host/benches/moco/pytorch.py" "$device" "$steps" --width "$width" --compile > "$out/compiled.json" ||
    echo '{"what": "plain PyTorch, compiled", "images_per_second": null}' > "$out/compiled.json"
fi
# A cache of its own: a network from an earlier run would have no time.
"$coldstart" --cache "$out/cache" represent "$root/configs/cifar10-moco.toml" --device "$device" --json --out "$out/features" \
  -s representation.epochs="$epochs" -s representation.width="$width" > "$out/judgement.json"
"$python" - "$out" << 'PYTHON'
import json, pathlib, sys
out = pathlib.Path(sys.argv[1])
load = lambda name: json.loads((out / name).read_text())
training = load("features/representation.json")["training"]
ours = training["images"] * training["spec"]["epochs"] / training["seconds"]
others = [load(name) for name in ("pytorch.json", "compiled.json") if (out / name).exists()]
ratios = [ours / other["images_per_second"] if other["images_per_second"] else None for other in others]
result = {"coldstart_images_per_second": ours, "training": training, "beside": others, "ratios": ratios,
          "judgement": load("judgement.json"), "acceptance": "kNN at least 0.82 after 200 epochs at width 64"}
(out / "result.json").write_text(json.dumps(result, indent=2))
print(json.dumps({"images per second": ours, "ratios": ratios, "kNN": result["judgement"][0]["knn"]}))
PYTHON

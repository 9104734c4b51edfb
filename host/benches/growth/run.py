#!/usr/bin/env python3
"""How the time of each step grows with the number of images: `run.py [DEVICE] [OUT]`.

Runs the program on its own drawn images, with pools from 1000 to 50 000, and reads the times that the runs stored: training of
one epoch on half of the pool, prediction of the other half, one epoch of each pretext on the pool, and each strategy's own time.
Needs the built program in target/release or in COLDSTART. Writes OUT/times.tsv and OUT/growth.svg (OUT is runs/growth unless
told otherwise) and prints the table. The last column is the exponent e of time = c n^e over the four largest pools, where what
is the same at every size weighs least: 1 is linear, and n log n comes to 1.1 there.
"""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

SIZES = [1000, 2000, 5000, 10_000, 20_000, 50_000]
ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("COLDSTART", ROOT / "target/release/coldstart")


def run(out, device, n, name, **settings):
    """The seconds of each phase, summed over the rounds, of a run with a pool of n images."""
    told = {
        "dataset": {"kind": "synthetic", "size": n, "test_size": 1000}, "model": {"backbone": "convnet", "width": 16},
        "training": {"epochs": 1, "min_steps": 0}, "initial": {"strategy": "random", "size": 20},
        "query": {"strategy": "random", "size": 20, "rounds": 1}, **settings,
    }
    lines = []
    for section, keys in told.items():
        lines += [f"[{section}]"] + [f"{key} = {toml(value)}" for key, value in keys.items()]
    folder = out / f"{name}-{n}"
    config = out / f"{name}-{n}.toml"
    config.write_text('name = "growth"\n' + "\n".join(lines) + "\n")
    command = [PROGRAM, "--cache", out / "cache", "run", config, "--device", device, "--out", folder]
    subprocess.run(command, check=True, capture_output=True)
    seconds = {}
    for timings in folder.glob("rounds/*/timings.json"):
        for phase, took in json.loads(timings.read_text())["seconds"].items():
            seconds[phase] = seconds.get(phase, 0) + took
    return seconds


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def measure(out, device, n):
    """What each step takes at n images."""
    half = {"initial": {"strategy": "random", "size": n // 2}, "query": {"strategy": "entropy", "size": 20, "rounds": 1}}
    whole = run(out, device, n, "entropy", **half)
    # Two rounds train, each on half of the pool; one asks for predictions.
    steps = {
        "training, n / 2": sum(whole[phase] for phase in ("augmentation", "forward", "backward", "optimizer")) / 2,
        "prediction, n / 2": whole["predict"],
        "entropy": whole["plugin"],
    }
    half["query"] = {"strategy": "consistency", "size": 20, "rounds": 1, "params": {"views": 5}}
    seen = run(out, device, n, "consistency", **half)
    steps |= {"5 views, n / 2": seen["predict"], "consistency": seen["plugin"]}
    for name, params in (("pt4al", {"groups": 2, "epochs": 1}), ("first-choice", {"clusters": 20, "epochs": 1})):
        chosen = run(out, device, n, name, initial={"strategy": name, "size": 20, "params": params})
        steps |= {f"pretext of {name}": chosen["pretext"], name: chosen["plugin"]}
    return steps


def exponent(ns, seconds):
    x, y = [math.log(n) for n in ns[-4:]], [math.log(max(s, 1e-6)) for s in seconds[-4:]]
    mean_x, mean_y = sum(x) / 4, sum(y) / 4
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)


def draw(table):
    """Both axes logarithmic, so that a straight line at half a right angle is linear growth."""
    width, height, left, top = 760, 520, 70, 20
    low = min(math.floor(math.log10(max(s, 1e-5))) for row in table.values() for s in row)
    high = max(math.ceil(math.log10(s)) for row in table.values() for s in row)
    x = lambda n: left + (math.log10(n) - 3) / 1.75 * (width - left - 180)
    y = lambda s: top + (high - math.log10(max(s, 1e-5))) / (high - low) * (height - top - 50)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}H{x(50_000):.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    parts += [f'<text x="{x(n):.1f}" y="{height - 28}" text-anchor="middle">{n:,}</text>' for n in SIZES]
    parts.append(f'<text x="{x(7000):.1f}" y="{height - 8}" text-anchor="middle">images in the pool</text>')
    taken = []
    for i, (name, row) in enumerate(sorted(table.items(), key=lambda item: -item[1][-1])):
        colour = f"hsl({i * 360 // len(table)} 65% 42%)"
        points = " ".join(f"{x(n):.1f},{y(s):.1f}" for n, s in zip(SIZES, row))
        label = max([y(row[-1]) + 4, *(at + 14 for at in taken)])
        taken.append(label)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{x(50_000) + 8:.1f}" y="{label:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    out = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "runs/growth")
    # What an earlier call trained would take no time now.
    shutil.rmtree(out / "runs", ignore_errors=True)
    (out / "runs").mkdir(parents=True)
    found = [measure(out / "runs", device, n) for n in SIZES]
    table = {name: [steps[name] for steps in found] for name in found[0]}
    lines = ["step\t" + "\t".join(f"n = {n}" for n in SIZES) + "\texponent"]
    for name, row in table.items():
        lines.append(name + "\t" + "\t".join(f"{s:.4f}" for s in row) + f"\t{exponent(SIZES, row):.2f}")
    (out / "times.tsv").write_text("\n".join(lines) + "\n")
    (out / "growth.svg").write_text(draw(table))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

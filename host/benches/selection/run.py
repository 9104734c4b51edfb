#!/usr/bin/env python3
"""How long strategies take to choose, and in how much memory: `run.py beside|million [OUT] [PYTHON]`.

`beside`: 50 000 images, features of 512 numbers, 100 and 1000 picks, through the whole program, beside plain numpy, torch and
faiss and beside scikit-activeml in the same run (`plain.py`, run by PYTHON: one that has torch, faiss-cpu and scikit-activeml).
`million`: 1 000 000 images, 1000 picks, every strategy that can. Features lie in a mapped file, points around 100 centres at unit
length. Writes OUT/beside.tsv or OUT/million.tsv (OUT is runs/selection unless told otherwise) and prints it. Seconds of Coldstart
are what a strategy and its operations took, without the model's predictions, which no strategy can change; MiB are the peak of the
process's own memory without the mapped file.

Needs the built program in target/release or in COLDSTART, and numpy.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("COLDSTART", str(ROOT / "target/release/coldstart"))
D, CLASSES, PASSES, RADIUS = 512, 10, 20, 0.6
#: The strategy, its parameters (as much work as the plain versions do), and whether it chooses the initial set or asks a model.
BESIDE = {
    "k-center": ("coreset", {}, "initial"),
    "kmeans": ("kmeans", {"restarts": 1, "iterations": 25}, "initial"),
    "typiclust": ("typiclust", {"max_clusters": 1000}, "initial"),
    "probcover": ("probcover", {"radius": RADIUS}, "initial"),
    "badge": ("badge", {}, "query"),
    "bald": ("bald", {"passes": PASSES}, "query"),
}


def prepare(folder, n):
    """Images that mean nothing, features in heaps, and answers of a model that is as unsure as they come."""
    if (folder / "data.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, CLASSES, n).astype(np.uint8)
    images = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    np.savez(folder / "data.npz", x_train=images, y_train=labels, x_test=images[:100], y_test=labels[:100])
    centres = rng.standard_normal((100, D), dtype=np.float32) / np.sqrt(D).astype(np.float32)
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (n, D))
    for start in range(0, n, 10_000):
        count = min(10_000, n - start)
        block = centres[rng.integers(0, 100, count)]
        # As far from its centre as half the way to another one; some heaps are tighter.
        block = block + (0.2 + 0.3 * rng.random((count, 1))) * rng.standard_normal((count, D), dtype=np.float32) / np.sqrt(D)
        features[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    features.flush()
    if n <= 50_000:
        logits = rng.standard_normal((n, PASSES, CLASSES), dtype=np.float32) * 2
        passes = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
        np.save(folder / "passes.npy", passes)
        np.save(folder / "probs.npy", passes[:, 0])


def own_memory(pid):
    """MiB that belong to the process alone: without mapped files."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1024


def ours(folder, out, name, strategy, params, role, budget):
    """Seconds of the strategy and its operations, and the peak of memory, of one selection by the program."""
    inline = lambda table: "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"
    initial = {"strategy": strategy, "size": budget} if role == "initial" else {"strategy": "random", "size": 100}
    query = {"strategy": strategy if role == "query" else "random", "size": budget, "rounds": int(role == "query")}
    (initial if role == "initial" else query)["params"] = params
    lines = [f'name = "selection"', "[dataset]", 'kind = "npz"', f'path = "{folder / "data.npz"}"', "[representation]"]
    lines += ['method = "file"', f'path = "{folder / "features.npy"}"', "[model]"]
    # Only a model that is asked needs 512 features.
    lines += ['backbone = "resnet18"', "width = 64"] if role == "query" else ['backbone = "convnet"', "width = 4"]
    lines += ["[training]", "epochs = 1", "min_steps = 0", "[plugins]", "oracles = true", "memory = 16.0"]
    for section, table in (("initial", initial), ("query", query)):
        lines += [f"[{section}]"] + [
            f"{key} = {inline(value) if isinstance(value, dict) else json.dumps(value)}" for key, value in table.items()
        ]
    config = out / f"{name}.toml"
    config.write_text("\n".join(lines) + "\n")
    run = out / name
    shutil.rmtree(run, ignore_errors=True)
    command = [PROGRAM, "--cache", str(out / "cache"), "run", str(config), "--device", "cpu", "--out", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak, done = 0.0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, own_memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.stderr.read()
    process.wait()
    done.set()
    watcher.join()
    if process.returncode != 0:
        problem = [line.strip() for line in said.splitlines() if "×" in line]
        return {"problem": " ".join(problem) or said[-200:]}
    timings = json.loads((run / f"rounds/{int(role == 'query'):03}/timings.json").read_text())["seconds"]
    shutil.rmtree(run, ignore_errors=True)
    return {"seconds": timings["plugin"], "mib": peak, "predict": timings.get("predict", 0.0)}


def theirs(python, library, folder, method, budget):
    command = [python, str(pathlib.Path(__file__).with_name("plain.py")), library, method, str(folder), str(budget)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    except subprocess.TimeoutExpired:
        return {"problem": "more than 20 minutes"}
    if told.returncode != 0:
        return {"problem": told.stderr.strip().splitlines()[-1][:100]}
    return json.loads(told.stdout.splitlines()[-1])


def beside(out, python):
    folder = out / "50000"
    prepare(folder, 50_000)
    rows = ["method\tbudget\tcoldstart s\tplain s\tratio\tscikit-activeml s\tratio\tcoldstart MiB\tplain MiB\tscikit-activeml MiB"]
    for budget in (100, 1000):
        for method, (strategy, params, role) in BESIDE.items():
            # The best of three, as the machine is not ours alone.
            best = lambda found: min(found, key=lambda one: one.get("seconds", float("inf")))
            mine = best([ours(folder, out, f"{method}-{budget}", strategy, params, role, budget) for _ in range(3)])
            plain = best([theirs(python, "plain", folder, method, budget) for _ in range(3)])
            wanted = budget == 100
            active = theirs(python, "scikit-activeml", folder, method, budget) if wanted else None
            rows.append("\t".join([method, str(budget), *line(mine, plain, active)]))
            print(rows[-1], flush=True)
    (out / "beside.tsv").write_text("\n".join(rows) + "\n")


def line(mine, plain, active):
    seconds = lambda found: "-" if not found else f"{found['seconds']:.3f}" if "seconds" in found else found["problem"]
    ratio = lambda found: f"{found['seconds'] / mine['seconds']:.1f}" if found and "seconds" in found and "seconds" in mine else "-"
    mib = lambda found: f"{found['mib']:.0f}" if found and "mib" in found else "-"
    return [seconds(mine), seconds(plain), ratio(plain), seconds(active), ratio(active), mib(mine), mib(plain), mib(active)]


def million(out):
    folder = out / "1000000"
    prepare(folder, 1_000_000)
    listed = json.loads(subprocess.run([PROGRAM, "plugin", "list", "--json"], check=True, capture_output=True).stdout)
    rows = ["strategy\trole\tseconds\tMiB\tof it predictions, s"]
    print(rows[0])
    trained = {"pt4al", "first-choice"}
    # Each view is a prediction of the whole pool; what is not prediction grows with their number, no more.
    params = {"consistency": {"views": 5}}
    for plugin in sorted(listed, key=lambda plugin: plugin["manifest"]["name"]):
        name, roles = plugin["manifest"]["name"], plugin["manifest"]["roles"]
        if name in trained or not (ROOT / "plugins" / name).is_dir():
            continue
        role = "initial" if "initial" in roles else "query"
        found = ours(folder, out, f"{name}-million", name, params.get(name, {}), role, 1000)
        told = [found["problem"], "-", "-"] if "problem" in found else [f"{found[key]:.1f}" for key in ("seconds", "mib", "predict")]
        rows.append("\t".join([name, role, *told]))
        print(rows[-1], flush=True)
        (out / "million.tsv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "beside"
    out = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "runs/selection").resolve()
    out.mkdir(parents=True, exist_ok=True)
    beside(out, sys.argv[3] if len(sys.argv) > 3 else sys.executable) if what == "beside" else million(out)

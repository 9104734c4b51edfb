"""What the border to a learner in Python costs, beside the same loop in one process of Python.

    python3 host/benches/border.py target/release/coldstart [images] [rounds]

50 000 images of 32 x 32 x 3 and 10 000 test images, drawn at random around a mean of their class; softmax regression on the pixels in numpy; a
round asks for the entropy of the pool, labels 200 images, fits, and predicts the test images. Both do the same arithmetic on the same images, in
one thread. Each line is one tab-separated row. The border is what the program waits for the learner's process beyond what the learner's own methods
take, which they write down themselves; the first round is left out. Storing a round is told apart: most of it is the disk.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
import numpy as np

CLASSES, SIDE, STEPS, QUERY = 10, 32, 100, 200

MATHS = '''
import numpy as np

def features(pixels):
    return pixels.reshape(len(pixels), -1).astype(np.float32) / 255 - 0.5

def softmax(logits_nc):
    exps_nc = np.exp(logits_nc - logits_nc.max(axis=1, keepdims=True))
    return exps_nc / exps_nc.sum(axis=1, keepdims=True)

def fitted(pixels, labels, classes, steps):
    x_nd, y_nc = features(pixels), np.eye(classes, dtype=np.float32)[labels]
    weights_dc = np.zeros((x_nd.shape[1], classes), np.float32)
    for _ in range(steps):
        weights_dc -= 0.02 * x_nd.T @ (softmax(x_nd @ weights_dc) - y_nc) / len(x_nd)
    return weights_dc

def predicted(pixels, weights_dc, chunk=5000):
    parts = [softmax(features(pixels[i : i + chunk]) @ weights_dc) for i in range(0, len(pixels), chunk)]
    return np.concatenate(parts)
'''

LEARNER = MATHS + '''
import time

class Learner:
    def timed(self, name, body):
        start = time.perf_counter()
        answer = body()
        with open(self.params["times"], "a") as file:
            file.write(f"{name} {time.perf_counter() - start}\\n")
        return answer

    def fit(self, labelled, labels, seed, warm):
        classes, steps = len(self.data.classes), self.params["steps"]
        self.timed("fit", lambda: self.__dict__.update(weights_dc=fitted(self.data.images(labelled), labels, classes, steps)))
        return {"loss": 0.0, "accuracy": 0.0}

    def predict(self, ids):
        return self.timed("predict", lambda: predicted(self.data.images(ids), self.weights_dc))

    def save(self, path):
        self.timed("save", lambda: np.save(open(path, "wb"), self.weights_dc))

    def load(self, path):
        self.weights_dc = np.load(path)
'''

CONFIG = '''
name = "border"
threads = 1
[dataset]
kind = "npz"
path = "{data}"
[training]
learner = "learner.py"
params = {{ times = "{times}", steps = {steps} }}
[initial]
strategy = "random"
size = 1000
[query]
strategy = "entropy"
size = {query}
rounds = {rounds}
'''


def images(n, seed):
    """Pixels of each class around a mean of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    means = np.random.default_rng(0).integers(90, 166, (CLASSES, SIDE, SIDE, 3))
    noise = rng.integers(-90, 90, (n, SIDE, SIDE, 3), dtype=np.int16)
    return np.clip(means[labels] + noise, 0, 255).astype(np.uint8), labels


def in_one_process(pool, labels, test, test_labels, rounds):
    """Seconds of each round of the same loop."""
    space = {}
    exec(MATHS, space)
    labelled = np.zeros(len(pool), bool)
    labelled[np.random.default_rng(1).permutation(len(pool))[:1000]] = True
    weights_dc = space["fitted"](pool[labelled], labels[labelled], CLASSES, STEPS)
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        unlabelled = np.flatnonzero(~labelled)
        probs_nc = space["predicted"](pool[unlabelled], weights_dc)
        entropies = -(probs_nc * np.log(np.maximum(probs_nc, 1e-38))).sum(axis=1)
        labelled[unlabelled[np.argsort(-entropies, kind="stable")[:QUERY]]] = True
        weights_dc = space["fitted"](pool[labelled], labels[labelled], CLASSES, STEPS)
        accuracy = (space["predicted"](test, weights_dc).argmax(axis=1) == test_labels).mean()
        took.append(time.perf_counter() - start)
    assert accuracy > 0.5, accuracy
    return took


def own_times(file, rounds):
    """Seconds that the learner's own methods took in each round but the first."""
    calls = [line.split() for line in file.read_text().splitlines()]
    starts = [i for i, (name, _) in enumerate(calls) if name == "fit"]
    # A round begins with the prediction of the pool before its fit.
    bounds = [start - 1 for start in starts[1:]] + [len(calls)]
    counted = [(name != "save") * float(seconds) for name, seconds in calls]
    sums = [sum(counted[a:b]) for a, b in zip(bounds, bounds[1:])]
    assert len(sums) == rounds, (len(sums), calls)
    return sums


def main(program, n=50_000, rounds=5):
    folder = pathlib.Path(tempfile.mkdtemp())
    (pool, labels), (test, test_labels) = images(n, 1), images(n // 5, 2)
    np.savez(folder / "data.npz", x_train=pool, y_train=labels, x_test=test, y_test=test_labels)
    (folder / "learner.py").write_text(LEARNER)
    times = folder / "times.txt"
    config = CONFIG.format(data=folder / "data.npz", times=times, steps=STEPS, query=QUERY, rounds=rounds)
    (folder / "border.toml").write_text(config)
    out = folder / "run"
    subprocess.run([program, "run", folder / "border.toml", "--out", out, "--allow-learner", "-q"], check=True, stdout=subprocess.DEVNULL)
    timings = [json.loads((out / f"rounds/{i:03}/timings.json").read_text()) for i in range(1, rounds + 1)]
    totals = [timing["total"] for timing in timings]
    waits = [sum(timing["seconds"].get(phase, 0) for phase in ("train", "evaluate", "predict")) for timing in timings]
    records = [timing["seconds"]["record"] for timing in timings]
    own, alone = own_times(times, rounds), in_one_process(pool, labels, test, test_labels, rounds)
    median = statistics.median
    borders = [100 * (wait - mine) / total for wait, mine, total in zip(waits, own, totals)]
    print(f"images\t{n}")
    print(f"a round of the same loop in one process (s, median of {rounds})\t{median(alone):.3f}")
    print(f"a round of the program (s, median)\t{median(totals):.3f}")
    print(f"of that, the learner's own methods (s, median)\t{median(own):.3f}")
    print(f"the border: waiting for its process beyond that (% of a round, median)\t{median(borders):.2f}")
    print(f"each round\t{' '.join(f'{border:.2f}' for border in borders)}")
    print(f"storing a round, its model among it (% of a round, median)\t{median(100 * r / t for r, t in zip(records, totals)):.2f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

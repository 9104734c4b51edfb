#!/usr/bin/env python3
"""Selection as one would write it with numpy, torch and faiss, or with scikit-activeml: `plain.py LIBRARY METHOD FOLDER BUDGET`.

FOLDER holds what `run.py` put there. Prints a line of JSON: seconds, and the peak of memory in MiB beyond what was there before.
Each way is the best that we know: exact, in blocks, on all cores; PLAIN has the fastest of the three libraries for each method.
"""

import json
import pathlib
import resource
import sys
import time

import numpy as np

CLASSES, PASSES, RADIUS = 10, 20, 0.6


def k_center(x, budget, rng):
    # numpy's product of a matrix and a vector reads memory faster than torch's.
    squares = np.einsum("nd,nd->n", x, x)
    picked, nearest = [int(rng.integers(len(x)))], np.full(len(x), np.inf, np.float32)
    while True:
        centre = picked[-1]
        np.minimum(nearest, squares + squares[centre] - 2 * (x @ x[centre]), out=nearest)
        if len(picked) == budget:
            return picked
        picked.append(int(nearest.argmax()))


def clusters(x, k, rounds=25):
    import faiss

    # As many points as there are, and one start, as the others have.
    kmeans = faiss.Kmeans(x.shape[1], k, niter=rounds, seed=1, max_points_per_centroid=len(x))
    kmeans.train(x)
    return kmeans


def kmeans(x, budget, rng):
    found = clusters(x, budget)
    import faiss

    index = faiss.IndexFlatL2(x.shape[1])
    index.add(x)
    return index.search(found.centroids, 1)[1][:, 0].tolist()


def typiclust(x, budget, rng):
    import torch

    of_point = clusters(x, budget).index.search(x, 1)[1][:, 0]
    picked = []
    for cluster in range(budget):
        members = np.flatnonzero(of_point == cluster)
        if len(members) < 3:
            continue
        own = torch.from_numpy(x[members])
        near = torch.cdist(own, own).topk(min(20, len(members) // 2) + 1, largest=False).values[:, 1:]
        picked.append(int(members[near.mean(1).argmin()]))
    return picked


def probcover(x, budget, rng):
    import torch

    n, cosine = len(x), 1 - RADIUS**2 / 2
    rows, columns = [], []
    for start in range(0, n, 2000):
        near = torch.from_numpy(x[start : start + 2000] @ x.T) > cosine
        row, column = torch.nonzero(near, as_tuple=True)
        rows.append((row + start).numpy())
        columns.append(column.numpy())
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    begins = np.searchsorted(rows, np.arange(n + 1))
    degree, covered, picked = np.diff(begins), np.zeros(n, bool), []
    for _ in range(budget):
        best = int(degree.argmax())
        picked.append(best)
        near = columns[begins[best] : begins[best + 1]]
        for newly in near[~covered[near]]:
            # The graph is symmetric: whoever is near to it loses it.
            degree[columns[begins[newly] : begins[newly + 1]]] -= 1
        covered[near] = True
    return picked


def badge(x, budget, rng):
    residuals = np.load(FOLDER / "probs.npy")
    start = time.perf_counter()
    residuals[np.arange(len(x)), residuals.argmax(1)] -= 1
    squares = np.einsum("nc,nc->n", residuals, residuals) * np.einsum("nd,nd->n", x, x)
    picked, nearest = [int(squares.argmax())], np.full(len(x), np.inf, np.float32)
    while True:
        last = picked[-1]
        inner = (residuals @ residuals[last]) * (x @ x[last])
        np.minimum(nearest, np.maximum(squares + squares[last] - 2 * inner, 0), out=nearest)
        if len(picked) == budget:
            return picked, time.perf_counter() - start
        total = nearest.cumsum(dtype=np.float64)
        picked.append(int(np.searchsorted(total, rng.random() * total[-1], side="right")))


def bald(x, budget, rng):
    import torch

    probs = torch.from_numpy(np.load(FOLDER / "passes.npy"))
    warm = probs[:10].log()
    start = time.perf_counter()
    mean = probs.mean(1)
    score = -torch.xlogy(mean, mean).sum(1) + torch.xlogy(probs, probs).sum(2).mean(1)
    picked = score.topk(budget).indices.tolist()
    return picked, time.perf_counter() - start


PLAIN = {"k-center": k_center, "kmeans": kmeans, "typiclust": typiclust, "probcover": probcover, "badge": badge, "bald": bald}


def activeml(method, x, budget, rng):
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import Badge, CoreSet, ProbCover, TypiClust
    from skactiveml.utils import MISSING_LABEL
    from sklearn.linear_model import LogisticRegression

    y = np.full(len(x), MISSING_LABEL)
    if method == "k-center":
        return lambda: CoreSet(random_state=1).query(x, y, batch_size=budget)
    if method == "typiclust":
        return lambda: TypiClust(random_state=1).query(x, y, batch_size=budget)
    if method == "badge":
        some = rng.permutation(len(x))[:100]
        y[some] = np.arange(100) % CLASSES
        classifier = SklearnClassifier(LogisticRegression(), classes=range(CLASSES), random_state=1).fit(x, y)
        return lambda: Badge(random_state=1).query(x, y, classifier, fit_clf=False, batch_size=budget)
    return None


def main():
    global FOLDER
    library, method, FOLDER, budget = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
    x, rng = np.load(FOLDER / "features.npy"), np.random.default_rng(1)
    work = lambda: PLAIN[method](x, budget, rng)
    if library == "scikit-activeml":
        work = activeml(method, x, budget, rng)
        if work is None:
            return print(json.dumps(None))
    else:
        # Threads and libraries are there before the clock starts.
        PLAIN[method](np.ascontiguousarray(x[:200]), 3, rng) if method in ("k-center", "kmeans", "typiclust", "probcover") else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    picked = work()
    seconds = time.perf_counter() - start
    if isinstance(picked, tuple):
        picked, seconds = picked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "mib": (peak - before) / 1024, "picked": len(picked)}))


if __name__ == "__main__":
    main()

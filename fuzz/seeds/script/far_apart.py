"""An initial set of images that are far apart: k-center greedy on the pixels."""
# /// coldstart
# version = "0.1.0"
# summary = "Images far apart in pixels: the next one is the farthest from all chosen so far"
# cite = "Gonzalez 1985, Clustering to minimize the maximum intercluster distance"
# roles = ["initial"]
# params = {}
# ///

import numpy as np


def select(request, host):
    points_nd = host.pixels(request.unlabelled).reshape(len(request.unlabelled), -1).astype(np.float32)
    chosen = [request.rng("first").below(len(points_nd))]
    nearest_n = distances(points_nd, chosen[0])
    while len(chosen) < request.budget:
        host.check()
        # Equal distances go to the first, which has the lowest id.
        chosen.append(int(nearest_n.argmax()))
        nearest_n = np.minimum(nearest_n, distances(points_nd, chosen[-1]))
        # Never twice, even where two images are equal.
        nearest_n[chosen] = -1
        host.progress("chosen", len(chosen), request.budget)
    return request.unlabelled[chosen]


def distances(points_nd, i):
    """Squared Euclidean distances to point i."""
    return ((points_nd - points_nd[i]) ** 2).sum(axis=1)

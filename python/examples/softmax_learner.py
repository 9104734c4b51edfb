"""Softmax regression on raw pixels, in numpy: a whole learner in forty lines, with all that strategies may ask."""
# /// coldstart
# summary = "Softmax regression by gradient descent"
#
# [params.steps]
# type = "integer"
# default = 200
# minimum = 1
#
# [params.lr]
# type = "number"
# default = 0.5
# minimum = 0.0
# ///

import numpy as np


class Learner:
    def __init__(self):
        self.weights_dc = np.zeros((int(np.prod(self.data.shape)) + 1, len(self.data.classes)))

    def fit(self, labelled, labels, seed, warm):
        if not warm:
            self.weights_dc = np.zeros_like(self.weights_dc)
        x_nd, y_nc = self.embed(labelled), np.eye(len(self.data.classes))[labels]
        for step in range(self.params["steps"]):
            residuals_nc = self._probabilities(x_nd) - y_nc
            self.weights_dc -= self.params["lr"] * (x_nd.T @ residuals_nc / len(x_nd) + 1e-3 * self.weights_dc)
            self.progress(step + 1, self.params["steps"])

    def predict(self, ids):
        return self._probabilities(self.embed(ids))

    def embed(self, ids):
        x_nd = self.data.images(ids).reshape(len(ids), -1) / 255.0 - 0.5
        return np.concatenate([x_nd, np.ones((len(ids), 1))], axis=1)

    def predict_dropout(self, ids, passes):
        x_nd = self.embed(ids)
        kept_kd = np.random.random((passes, x_nd.shape[1])) < 0.5  # the kit has seeded numpy
        return np.stack([self._probabilities(2 * x_nd * kept_d) for kept_d in kept_kd], axis=1)

    def save(self, path):
        with open(path, "wb") as file:
            np.save(file, self.weights_dc)

    def load(self, path):
        self.weights_dc = np.load(path)

    def _probabilities(self, x_nd):
        logits_nc = x_nd @ self.weights_dc
        exps_nc = np.exp(logits_nc - logits_nc.max(axis=1, keepdims=True))
        return exps_nc / exps_nc.sum(axis=1, keepdims=True)

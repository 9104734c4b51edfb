"""Entropy of a softened distribution: a high temperature ranks by more than the two likeliest classes."""
# /// coldstart
# version = "0.1.0"
# summary = "Entropy of the class distribution at a temperature"
# cite = "Shannon 1948, A Mathematical Theory of Communication"
# roles = ["query"]
# needs = ["model.predict/1"]
#
# [params.temperature]
# type = "number"
# default = 1.0
# minimum = 0.01
# description = "Divides the logits: above 1 the distribution is softer"
# ///

import numpy as np

from coldstart_strategy import Selection


def select(request, host):
    logits_nc = host.predict(request.unlabelled).logits() / request.params["temperature"]
    return Selection.highest(request, entropy(logits_nc))


def entropy(logits_nc):
    """Entropy of each row's softmax, in nats."""
    shifted_nc = logits_nc - logits_nc.max(axis=1, keepdims=True)
    log_total_n = np.log(np.exp(shifted_nc).sum(axis=1))
    probs_nc = np.exp(shifted_nc - log_total_n[:, None])
    return log_total_n - (probs_nc * shifted_nc).sum(axis=1)

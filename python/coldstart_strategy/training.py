"""Trainings as data: the presets of the kit in Rust as dicts, to change before `Host.train`.

    spec = {**training.preset("rotation"), "record": [{"measure": {"kind": "loss"}, "pass": "final"}]}
    trained = host.train(training.with_epochs(spec, 15), request.pool())

The fields are those of the contract's ``TrainSpec``; a test holds ``presets.json`` to what the kit in Rust says.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any, Dict

from .errors import BadParams

#: Read with the module, because a sandbox may open no file later.
_PRESETS = json.loads(Path(__file__).with_name("presets.json").read_text())


def preset(name: str, setting: str = "cifar") -> Dict[str, Any]:
    """A published training, for small images (``cifar``) or photographs (``imagenet``); errs with the list of them."""
    if setting not in _PRESETS:
        raise BadParams(f"there is no setting `{setting}`; known are {', '.join(_PRESETS)}")
    if name not in _PRESETS[setting]:
        raise BadParams(f"there is no preset `{name}`; known are {', '.join(_PRESETS[setting])}")
    return copy.deepcopy(_PRESETS[setting][name])


def with_epochs(spec: Dict[str, Any], epochs: int) -> Dict[str, Any]:
    """The same training over another number of epochs: drops and warm-up stay at the same share of it."""
    schedule = dict(spec["schedule"])
    if "epochs" in schedule:
        drops = (max(_scaled(at, spec, epochs), 1) for at in schedule["epochs"])
        schedule["epochs"] = list(dict.fromkeys(drops))
    warmup = min(_scaled(spec["warmup_epochs"], spec, epochs), max(epochs - 1, 0))
    return {**spec, "schedule": schedule, "warmup_epochs": warmup, "epochs": epochs}


def _scaled(at: int, spec: Dict[str, Any], epochs: int) -> int:
    # Halves go up, as in Rust.
    return math.floor(at * epochs / max(spec["epochs"], 1) + 0.5)

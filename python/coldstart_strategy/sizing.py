"""How large the initial set should be: what a sizer is told, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Dict

import msgpack

from .errors import Error
from .request import Request


@dataclass(frozen=True)
class Bounds:
    """The sizes that the user allows."""

    #: The smallest initial set.
    least: int
    #: The largest, never more than the pool.
    most: int


@dataclass(frozen=True)
class Sizing:
    """How many images a sizer wants, and why."""

    #: Images that the initial strategy should have chosen in all.
    wanted: int
    #: One sentence for people.
    reason: str
    #: The numbers that it rests on, by name; all finite.
    measures: Dict[str, float] = field(default_factory=dict)

    @staticmethod
    def enough(request: Request, reason: str) -> Sizing:
        """The images that are labelled are enough."""
        return Sizing(len(request.labelled), reason)

    @staticmethod
    def go_on(request: Request, reason: str) -> Sizing:
        """One more round of the initial strategy."""
        return Sizing(len(request.labelled) + max(1, request.budget), reason)

    def also(self, **measures: float) -> Sizing:
        """The same with more numbers that it rests on."""
        return replace(self, measures={**self.measures, **measures})


def bounds(extra: bytes) -> Bounds:
    """The bounds that came with a request."""
    said = msgpack.unpackb(extra)
    return Bounds(least=said["least"], most=said["most"])


def report(answer: Any) -> bytes:
    """What a script returned as a message for the host; errs on what is no sizing."""
    if not isinstance(answer, Sizing):
        raise Error(f"`size` must return a Sizing, got {type(answer).__name__}")
    wanted, reason, measures = answer.wanted, answer.reason, answer.measures
    if isinstance(wanted, bool) or not _is_whole(wanted) or not 0 <= wanted < 2**64:
        raise Error(f"the wanted size must be a whole number of images, got {wanted!r}")
    if not isinstance(reason, str):
        raise Error(f"the reason must be a text, got {type(reason).__name__}")
    numbers = {str(name): _number(name, value) for name, value in measures.items()}
    return msgpack.packb({"wanted": int(wanted), "reason": reason, "measures": numbers})


def _is_whole(number: Any) -> bool:
    return hasattr(number, "__index__")


def _number(name: Any, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Error(f"the measure `{name}` is no number: {value!r}") from None
    if not math.isfinite(number):
        raise Error(f"the measure `{name}` is {number}")
    return number

"""What is asked of a strategy in a round, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Sequence, Union

import numpy as np

from .errors import Error
from .rng import Rng

#: Dataset ids: a list, or a vector of whole numbers.
Ids = Union[Sequence[int], np.ndarray]


@dataclass(frozen=True, eq=False)
class Request:
    """What is asked of a strategy in one round."""

    #: 0 for the initial set, then 1, 2, ...
    round: int
    #: How many images to choose; never more than there are unlabelled ones.
    budget: int
    #: The seed of this run, round and strategy: 32 bytes.
    seed: bytes
    #: Dataset ids of the images to choose from, ascending (uint64, read-only).
    unlabelled: np.ndarray
    #: Dataset ids of the labelled images, ascending (uint64, read-only).
    labelled: np.ndarray
    #: The strategy's parameters, every default filled in.
    params: Dict[str, Any] = field(default_factory=dict)

    def pool(self) -> np.ndarray:
        """Dataset ids of all images, labelled or not, ascending: the same in every round of a run."""
        return np.sort(np.concatenate([self.labelled, self.unlabelled]))

    def rng(self, stream: str) -> Rng:
        """A generator for one purpose; another name gives independent numbers, the same name the same ones.

        It is the generator of the kit in Rust, number for number: see `Rng`.
        """
        return Rng.for_stream(self.seed, stream)


@dataclass(eq=False)
class Selection:
    """The chosen images, most wanted first."""

    #: Dataset ids in the order chosen.
    ids: Ids
    #: One score for each id, for the record; or none at all.
    scores: Optional[Union[Sequence[float], np.ndarray]] = None

    @staticmethod
    def highest(request: Request, scores: Union[Sequence[float], np.ndarray]) -> Selection:
        """The ``request.budget`` highest scores; equal scores go to the lowest id.

        ``scores[i]`` belongs to ``request.unlabelled[i]``; what counts is the score rounded to 32 bits. A NaN counts as
        the highest of all, so that it is seen and refused instead of hidden at the end.
        """
        return _ranked(request, scores, 1.0)

    @staticmethod
    def lowest(request: Request, scores: Union[Sequence[float], np.ndarray]) -> Selection:
        """The ``request.budget`` lowest scores; otherwise as `highest`."""
        return _ranked(request, scores, -1.0)


def _ranked(request: Request, scores: Union[Sequence[float], np.ndarray], sign: float) -> Selection:
    with np.errstate(over="ignore"):  # What does not fit becomes infinite, and the host says so.
        scores_n = np.asarray(scores).astype(np.float32)
    if scores_n.shape != request.unlabelled.shape:
        expected = f"one for each of {len(request.unlabelled)} unlabelled images is needed"
        raise ValueError(f"scores of the shape {scores_n.shape}; {expected}")
    wanted_n = np.where(np.isnan(scores_n), np.float32(np.inf), np.float32(sign) * scores_n)
    # A stable sort keeps equal scores in the order of their ids.
    best = np.argsort(-wanted_n, kind="stable")[: request.budget]
    return Selection(request.unlabelled[best], scores_n[best])


def as_ids(ids: object, what: str = "ids") -> np.ndarray:
    """A vector of whole numbers as uint64; errs on anything else, floats without a fraction too."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1 or (ids.dtype.kind not in "iu" and len(ids)):
            raise Error(f"{what} must be a vector of whole numbers, got {ids.dtype} of the shape {ids.shape}")
        least = ids.min() if len(ids) else 0
    else:
        # Item by item, because numpy would turn what is no whole number into one.
        ids = list(ids) if isinstance(ids, (list, tuple, range)) else [ids]
        for item in ids:
            if isinstance(item, bool) or not isinstance(item, (int, np.integer)):
                raise Error(f"{what} must be a list or vector of whole numbers, got {item!r}")
        least = min(ids, default=0)
    if least < 0:
        raise Error(f"{what} must not be negative, got {least}")
    try:
        return np.ascontiguousarray(ids, dtype="<u8")
    except OverflowError:
        raise Error(f"{what} must be below 2**64, got {max(ids)}") from None


def checked(answer: object) -> Selection:
    """What a script returned as a selection of uint64 and float32; errs on what is none.

    Whether the ids may be chosen is for the host to say.
    """
    if isinstance(answer, Selection):
        ids, scores = answer.ids, answer.scores
    else:
        ids, scores = answer, None
    if not isinstance(ids, (list, tuple, np.ndarray)):
        raise Error(f"`select` must return ids or a Selection, got {type(ids).__name__}")
    ids = as_ids(ids, "the chosen ids")
    if scores is None:
        return Selection(ids, np.empty(0, dtype="<f4"))
    scores = np.asarray(scores)
    if scores.ndim != 1 or (scores.dtype.kind not in "fiub" and len(scores)):
        raise Error(f"the scores must be a list or vector of numbers, got {scores.dtype} of the shape {scores.shape}")
    with np.errstate(over="ignore"):
        return Selection(ids, np.ascontiguousarray(scores.astype("<f4")))

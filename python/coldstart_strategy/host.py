"""What a strategy may ask of the program: the operations of the contract with numpy arrays.

Names and meanings are those of the kit in Rust; arrays that come back are yours to change.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import msgpack
import numpy as np

from .errors import Broken, Cancelled, Error, HostFailed, shortened
from .request import Ids, as_ids
from .wire import Conversation, Frame

#: Element types by their number on the wire.
DTYPES = {0: np.dtype("<f4"), 1: np.dtype("<u8"), 2: np.dtype("u1")}


@dataclass(frozen=True)
class PoolInfo:
    """The pool: how many images, labelled ones included, their shape, and the classes' names."""

    images: int
    height: int
    width: int
    channels: int
    classes: List[str]


@dataclass(frozen=True)
class StrategyInfo:
    """A strategy of the run: its name, and in a word what it goes by, as its manifest says; or an empty word."""

    name: str
    criterion: str = ""


@dataclass(frozen=True)
class LearnerInfo:
    """The learner: its name in a config, and whether it stands on features that the labels do not change."""

    name: str
    frozen: bool


@dataclass(frozen=True)
class RunInfo:
    """The run: who chooses first and afterwards, who learns, images of a query round, labels at the end if that is said."""

    initial: StrategyInfo
    query: StrategyInfo
    learner: LearnerInfo
    query_size: int
    until: Optional[int] = None


@dataclass(frozen=True, eq=False)
class Prequential:
    """What the model said of images before they were labelled: a number for each image, in the order of their labels."""

    #: The images.
    ids: np.ndarray
    #: The round that labelled each.
    rounds: np.ndarray
    #: The class that the model of the round before found most probable.
    predicted: np.ndarray
    #: The class.
    labels: np.ndarray

    def right(self) -> np.ndarray:
        """Whether the model was right, for each image."""
        return self.predicted == self.labels


@dataclass(frozen=True)
class EnvInfo:
    """Threads that the strategy may keep busy, and where the host's kernels run: ``cpu`` or ``cuda``."""

    threads: int
    device: str


@dataclass(frozen=True)
class Views:
    """Random views of each image, and what is made of the model's answers to them."""

    #: What is done to each view, in order: ``[{"op": "flip", "p": 0.5}, {"op": "normalise"}]``.
    ops: List[dict]
    #: How many views.
    count: int
    #: Whether the image as it is counts as one view more.
    clean: bool = False
    #: ``mean`` or ``variance``.
    reduce: str = "mean"


@dataclass(frozen=True)
class Dropout:
    """Passes in which features are left out by chance before the last layer."""

    #: How many passes.
    passes: int
    #: The chance of a feature to be left out.
    p: float = 0.5
    #: Whether a pass leaves out the same features of every image, or draws anew for each.
    shared: bool = True
    #: Whether the first pass leaves out nothing; it is then one of ``passes``.
    clean: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and what it recorded."""

    #: Its name, for `Host.predict`.
    model: str
    #: Whether it came from the cache.
    cached: bool
    #: The mean loss of the last epoch.
    loss: float
    #: The share of images whose target was the most probable class in the last epoch, if there are classes.
    accuracy: Optional[float]
    #: One for each record of the spec: a row for each epoch (or one row, for the final pass), a column for each image.
    records: List[np.ndarray]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Points in clusters: the cluster of each point, the centres k x d, the sum of squared distances to them."""

    of_point: np.ndarray
    centres: np.ndarray
    inertia: float


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest points of each point or query, nearest first: positions and Euclidean distances, n x k each."""

    positions: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True, eq=False)
class Picks:
    """Points in the order picked: their positions, and a number for each: its distance, or its gain."""

    positions: np.ndarray
    scores: np.ndarray


class Host:
    """The program, for the length of a call."""

    def __init__(self, conversation: Conversation):
        self._conversation = conversation

    def supports(self, op: str) -> bool:
        """Whether the host offers an operation, such as ``knn/1``."""
        answer = _expect(self._conversation.ask("supports", {"op": op}, op), "supported")
        return answer.get("yes", bool)

    def pool(self) -> PoolInfo:
        """The pool: its size, the images' shape, the classes."""
        answer = self._message("pool.info/1")
        return PoolInfo(**{name: answer[name] for name in ("images", "height", "width", "channels", "classes")})

    def env(self) -> EnvInfo:
        """Threads and device."""
        answer = self._message("env.info/1")
        return EnvInfo(threads=answer["threads"], device=answer["device"])

    def run(self) -> RunInfo:
        """The run: who chooses first and afterwards, who learns, when it ends."""
        answer = self._message("run.info/1")
        learner = answer["learner"]
        return RunInfo(
            initial=StrategyInfo(answer["initial"]["name"], answer["initial"].get("criterion", "")),
            query=StrategyInfo(answer["query"]["name"], answer["query"].get("criterion", "")),
            learner=LearnerInfo(learner["name"], learner["frozen"]),
            query_size=answer["query_size"],
            until=answer.get("until"),
        )

    def prequential(self, rounds: Optional[int] = None) -> Prequential:
        """What the model said of images before they were labelled, in the last ``rounds`` rounds or in all of them."""
        args = {} if rounds is None else {"rounds": int(rounds)}
        ids, of_round, predicted, labels = self._tensors("prequential.get/1", args, [], 4)
        return Prequential(ids, of_round.astype(np.int64), predicted.astype(np.int64), labels.astype(np.int64))

    def choose_by(
        self, strategy: str, candidates: Ids, count: int, stream: str, keep: bool = False
    ) -> np.ndarray:
        """What another strategy chooses of ``candidates``, most wanted first.

        ``strategy`` stands in a parameter that the script's block lists under ``composes``. Its seed is drawn from the request's, by its
        name and ``stream``. Only where ``keep`` is true does it remember its answer.
        """
        args = {"strategy": strategy, "count": int(count), "stream": stream, "keep": bool(keep)}
        (chosen,) = self._tensors("strategy.select/1", args, [as_ids(candidates)], 1)
        return chosen

    def predict(
        self,
        ids: Ids,
        of: Union[Trained, str, None] = None,
        views: Optional[Views] = None,
        dropout: Optional[Dropout] = None,
    ) -> Predict:
        """Ask a model about pool images: the current task model, or the one that `train` gave back.

        Nothing is computed before an output is asked for. Under ``dropout`` probabilities and logits are n x passes x c.
        Raises `Unsupported` in round 0, when no model is trained.
        """
        return Predict(self, as_ids(ids), of.model if isinstance(of, Trained) else of, views, dropout)

    def train(
        self, spec: Dict[str, Any], ids: Ids, classes: Optional[Ids] = None, values: Optional[np.ndarray] = None
    ) -> Trained:
        """Have a network trained on images as ``spec`` says; what was trained before comes from the cache.

        ``spec`` holds the fields of the contract's ``TrainSpec``. ``classes`` or ``values`` are the targets, where the
        spec wants them handed over.
        """
        inputs = [as_ids(ids)]
        if classes is not None:
            inputs.append(as_ids(classes, "classes"))
        if values is not None:
            inputs.append(_as_matrix(values))
        answer, records = self.invoke("train/1", spec, inputs)
        accuracy = answer.get("accuracy")
        records = [_finite(record) for record in records]
        return Trained(answer["model"], answer["cached"], answer["loss"], accuracy, records)

    def represent(self, ids: Ids) -> np.ndarray:
        """Features of pool images from the run's shared representation, a row per id.

        The first call trains it, or finds it in the cache. Raises `Unsupported` where the config has no section
        ``[representation]``.
        """
        return _finite(self._tensors("represent/1", {}, [as_ids(ids)], 1)[0])

    def kmeans(
        self,
        points: np.ndarray,
        clusters: int,
        iterations: int = 300,
        restarts: int = 10,
        stream: str = "kmeans",
        tolerance: float = 0.0,
    ) -> Clusters:
        """Cut points into clusters by Lloyd's algorithm from k-means++ seeds.

        They are drawn from the ``stream`` of the call's seed. A start also ends once the squares of the centres' moves add up
        to no more than ``tolerance`` times the mean variance of a feature; scikit-learn has 1e-4.
        """
        args = {"clusters": int(clusters), "iterations": int(iterations), "restarts": int(restarts), "stream": stream}
        if tolerance:
            args["tolerance"] = float(tolerance)
        answer, tensors = self.invoke("kmeans/1", args, [_as_matrix(points)])
        of_point, centres = _as_many("kmeans/1", tensors, 2)
        return Clusters(of_point.astype(np.int64), _finite(centres), answer["inertia"])

    def knn(self, points: np.ndarray, k: int) -> Neighbours:
        """The ``k`` nearest other points of each point; equal distances in the order of their positions."""
        positions, distances = self._tensors("knn/1", {"k": int(k)}, [_as_matrix(points)], 2)
        return Neighbours(positions.astype(np.int64), _finite(distances))

    def nearest(
        self, queries: np.ndarray, points: np.ndarray, k: int, among: Optional[Ids] = None
    ) -> Neighbours:
        """The ``k`` nearest of ``points`` (or of those of them at the ascending positions ``among``) for each query."""
        inputs = [_as_matrix(queries), _as_matrix(points)]
        if among is not None:
            inputs.append(as_ids(among, "among"))
        args = {"k": int(k), "among": among is not None}
        positions, distances = self._tensors("nearest/1", args, inputs, 2)
        return Neighbours(positions.astype(np.int64), _finite(distances))

    def kmeans_pp(
        self, points: np.ndarray, k: int, first: str = "drawn", stream: str = "kmeans_pp", times: object = None
    ) -> np.ndarray:
        """Positions of ``k`` points, each drawn in proportion to its squared distance to the nearest drawn before.

        ``first`` is ``drawn`` or ``largest-norm``. With ``times``, a row for each point, point i is the outer product of
        the two rows.
        """
        args = {"k": int(k), "first": first, "stream": stream}
        inputs = [_as_matrix(points)] + ([] if times is None else [_as_matrix(times)])
        return self._tensors("kmeans_pp/1", args, inputs, 1)[0].astype(np.int64)

    def k_center(self, points: np.ndarray, k: int, centres: Ids = (), stream: str = "k_center") -> Picks:
        """The farthest points one by one, beside centres at these positions; without any, the first is drawn."""
        inputs = [_as_matrix(points), as_ids(centres, "centres")]
        return _picks(self._tensors("k_center/1", {"k": int(k), "stream": stream}, inputs, 2))

    def coverage(
        self,
        points: np.ndarray,
        k: int,
        kernel: Dict[str, Dict[str, float]],
        centres: Ids = (),
        weights: Optional[np.ndarray] = None,
        candidates: Optional[Ids] = None,
    ) -> Picks:
        """The points that cover most one by one, under ``{"rbf": {"bandwidth": 1.0}}`` or ``{"top-hat": {"radius": 0.5}}``.

        Fewer than ``k`` come back where no candidate adds anything.
        """
        inputs = [_as_matrix(points), as_ids(centres, "centres")]
        if weights is not None:
            inputs.append(_as_matrix(np.reshape(weights, (-1, 1))))
        if candidates is not None:
            inputs.append(as_ids(candidates, "candidates"))
        there = {"weights": weights is not None, "radii": False, "candidates": candidates is not None, "bonus": None}
        return _picks(self._tensors("coverage/1", {"k": int(k), "kernel": kernel, **there}, inputs, 2))

    def reduce(self, probabilities: np.ndarray, measure: str) -> np.ndarray:
        """One number for each image from probabilities n x c or n x passes x c.

        ``entropy``, ``least-confidence``, ``margin``, ``expected-entropy``, ``bald``, ``variation-ratio``, ``vote-ratio``.
        """
        probabilities = np.ascontiguousarray(probabilities, dtype="<f4")
        return _finite(self._tensors("reduce/1", {"measure": measure}, [probabilities], 1)[0])[:, 0]

    def labels(self, ids: Ids) -> np.ndarray:
        """The class of each labelled image; errs if one of them is not labelled."""
        return self._tensors("labels.get/1", {}, [as_ids(ids)], 1)[0].astype(np.int64)

    def pixels(self, ids: Ids) -> np.ndarray:
        """The pixels of pool images: uint8, n x height x width x channels."""
        return self._tensors("pool.pixels/1", {}, [as_ids(ids)], 1)[0]

    def put_artifact(self, name: str, data: bytes) -> None:
        """Keep a small file with the run (``name`` without folders): tables and images for the report or a person."""
        self._message("artifact.put/1", {"name": name, "bytes": bytes(data)})

    def put_map(
        self, name: str, ids: Ids, places: np.ndarray, groups: Ids, *, title: str, axes: Tuple[str, str], group: str
    ) -> None:
        """Keep a map of images with the run: ``places[i]`` and ``groups[i]`` belong to ``ids[i]``; the report draws it.

        ``axes`` says what the two numbers of a place mean, ``group`` what a group is.
        """
        args = {"name": name, "title": title, "x_axis": axes[0], "y_axis": axes[1], "group": group}
        self.invoke("map.put/1", args, [as_ids(ids), _as_matrix(places), as_ids(groups, "groups")])

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell the user how far a long call has come."""
        self._conversation.tell("progress", {"stage": shortened(stage), "done": int(done), "total": int(total)})

    def cancelled(self) -> bool:
        """Whether the user has cancelled."""
        return self._conversation.poll()

    def check(self) -> None:
        """Raise `Cancelled` once the user has cancelled: call it in long loops."""
        if self.cancelled():
            raise Cancelled("cancelled")

    def invoke(
        self, op: str, args: Dict[str, Any], inputs: Sequence[np.ndarray] = ()
    ) -> Tuple[Dict[str, Any], List[np.ndarray]]:
        """Call any operation by its name: message and arrays in, message and arrays out.

        Arrays are float32, uint64 or uint8. This is how an operation is reached that this kit has no method for.
        """
        self.check()
        kept: List[int] = []
        try:
            for array in inputs:
                kept.append(self._put(array, op))
            fields = {"op": op, "args": msgpack.packb(args), "inputs": kept.copy()}
            answer = _expect(self._conversation.ask("invoke", fields, op), "invoked")
            outputs = answer.get("outputs", list)
            kept.extend(outputs)
            return _message(answer.get("answer", bytes), op), [self.read(tensor) for tensor in outputs]
        finally:
            for tensor in kept:
                self._conversation.tell("release", {"tensor": tensor})

    def read(self, tensor: int) -> np.ndarray:
        """A copy of a tensor that the host keeps."""
        answer = self._conversation.ask("tensor-read", {"tensor": tensor}, "a tensor")
        try:
            answer = _expect(answer, "tensor")
            return _array(answer.get("dtype", int), answer.get("shape", list), answer.fd)
        finally:
            answer.close()

    def _put(self, array: np.ndarray, op: str) -> int:
        array = np.asarray(array)
        number = next((number for number, dtype in DTYPES.items() if dtype == array.dtype), None)
        if number is None:
            raise Error(f"{op}: an array of {array.dtype}; the host knows float32, uint64 and uint8")
        fields = {"dtype": number, "shape": list(array.shape), "bytes": array.tobytes()}
        return _expect(self._conversation.ask("tensor-put", fields, op), "kept").get("tensor", int)

    def _message(self, op: str, args: Optional[dict] = None) -> dict:
        return self.invoke(op, args or {})[0]

    def _tensors(self, op: str, args: dict, inputs: List[np.ndarray], count: int) -> List[np.ndarray]:
        return _as_many(op, self.invoke(op, args, inputs)[1], count)


class Predict:
    """A question to a model, before it says which outputs it wants; rows come in the order of the ids."""

    def __init__(
        self,
        host: Host,
        ids: np.ndarray,
        model: Optional[str],
        views: Optional[Views],
        dropout: Optional[Dropout] = None,
    ):
        self._host, self._ids, self._model, self._views, self._dropout = host, ids, model, views, dropout

    def probabilities(self) -> np.ndarray:
        """Class probabilities, a row per id."""
        return self.outputs("probabilities")[0]

    def logits(self) -> np.ndarray:
        """Class scores before the softmax, a row per id."""
        return self.outputs("logits")[0]

    def embeddings(self) -> np.ndarray:
        """Features before the last layer, a row per id."""
        return self.outputs("embeddings")[0]

    def outputs(self, *wanted: str) -> List[np.ndarray]:
        """Several outputs from one pass over the images, in the order asked."""
        op, args = "model.predict/1", {"outputs": list(wanted)}
        # The older revision suffices where nothing else is asked, so that an older host does too.
        if self._model is not None or self._views is not None or self._dropout is not None:
            op = "model.predict/2"
            args.update(model=self._model, views=vars(self._views) if self._views else None)
        if self._dropout is not None or "residuals" in wanted:
            op = "model.predict/3"
            args.setdefault("model", None)
            args.setdefault("views", None)
            args["dropout"] = vars(self._dropout) if self._dropout else None
        return [_finite_numbers(output) for output in self._host._tensors(op, args, [self._ids], len(wanted))]


def _expect(answer: Frame, name: str) -> Frame:
    if answer.name != name:
        answer.close()
        raise Broken(f"expected the answer `{name}`, got `{answer.name}`")
    return answer


def _message(data: bytes, op: str) -> dict:
    try:
        message = msgpack.unpackb(data)
    except Exception as error:
        raise HostFailed(f"{op}: malformed message: {error}") from None
    if not isinstance(message, dict):
        raise HostFailed(f"{op}: expected a map, got {message!r}")
    return message


def _array(number: int, shape: List[int], fd: Optional[int]) -> np.ndarray:
    dtype = DTYPES.get(number)
    if dtype is None or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise Broken(f"no tensor: type {number}, shape {shape}")
    size, given = math.prod(shape) * dtype.itemsize, 0 if fd is None else os.fstat(fd).st_size
    if given < size:
        raise HostFailed(f"the host gave {given} of a tensor's {size} bytes")
    # A copy and no mapping: it can be written to, and holds no descriptor.
    array = np.empty(shape, dtype=dtype)
    if size:
        _read(fd, memoryview(array.reshape(-1).view("u1")))
    return array


def _read(fd: int, into: memoryview) -> None:
    with io.FileIO(fd, closefd=False) as file:
        file.seek(0)
        read = 0
        while read < len(into):
            some = file.readinto(into[read:])
            if not some:
                raise HostFailed(f"a tensor of {len(into)} bytes ends after {read}")
            read += some


def _as_many(op: str, tensors: List[np.ndarray], count: int) -> List[np.ndarray]:
    if len(tensors) != count:
        raise HostFailed(f"{op}: the host answered with {len(tensors)} tensors instead of {count}")
    return tensors


def _as_matrix(points: object) -> np.ndarray:
    matrix = np.ascontiguousarray(points, dtype="<f4")
    if matrix.ndim != 2:
        raise Error(f"expected a matrix, got the shape {matrix.shape}")
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise Error(f"row {bad[0]} holds a number that is not finite")
    return matrix


def _picks(tensors: List[np.ndarray]) -> Picks:
    return Picks(tensors[0].astype(np.int64), _finite(tensors[1])[:, 0])


def _finite(matrix: np.ndarray) -> np.ndarray:
    """A matrix of the host's; errs if it is none, or holds a NaN or an infinity."""
    if matrix.ndim != 2:
        raise HostFailed(f"expected a matrix, got {matrix.dtype} of the shape {matrix.shape}")
    return _finite_numbers(matrix)


def _finite_numbers(array: np.ndarray) -> np.ndarray:
    """A float array of the host's with a row for each image; errs if it holds a NaN or an infinity."""
    if array.ndim < 2 or array.dtype != DTYPES[0]:
        raise HostFailed(f"expected a matrix, got {array.dtype} of the shape {array.shape}")
    # With no row at all NumPy cannot tell how long one is.
    rows = array.reshape(len(array), math.prod(array.shape[1:]))
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        row = rows[bad[0]]
        raise HostFailed(f"the model's output holds {row[~np.isfinite(row)][0]} at row {bad[0]}")
    return array

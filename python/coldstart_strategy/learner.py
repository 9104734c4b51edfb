"""The worker of a learner: a class ``Learner`` that trains the task model, asked by the program until it says goodbye."""

from __future__ import annotations

import inspect
import json
import os
import platform
import random
import sys
import traceback
import types
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from . import logs, modules, script
from .data import Content, Data, Part, numbers, part
from .errors import RAISED, Broken, Cancelled, Error, OutOfMemory, fault
from .wire import PROTOCOL, Conversation, Frame
from .worker import API

#: Where this kit lies: its own lines are left out of a script's traceback.
_HERE = os.path.dirname(os.path.abspath(__file__))
#: Bytes of an answer that one frame carries.
_PIECE = 8 << 20
#: What a learner may have beside ``fit`` and ``predict``.
OPTIONAL = ("embed", "gradient_factors", "logits", "predict_dropout", "save", "load")
#: How many arguments each method takes beside ``self``, as a sentence shows them.
_SIGNATURES = {
    "fit": ("labelled", "labels", "seed", "warm"),
    "predict": ("ids",),
    "embed": ("ids",),
    "gradient_factors": ("ids",),
    "logits": ("ids",),
    "predict_dropout": ("ids", "passes"),
    "save": ("path",),
    "load": ("path",),
}
#: Packages whose versions a run's record names, if the script has imported them.
_PACKAGES = (
    "jax", "lightgbm", "numpy", "scipy", "sklearn", "tensorflow", "timm", "torch", "torchvision", "transformers", "xgboost",
)

#: The name and the fields of an answer.
Answer = Tuple[str, dict]


def _wrong(message: str, hint: str = "") -> Error:
    """The error of a script that holds no learner."""
    return Error(message, kind="script", **({"hint": hint} if hint else {}))


def _methods(kind: type) -> List[str]:
    """The methods of the class that the program may call; errs on a class that is no learner."""
    found = []
    for name in _SIGNATURES:
        method = getattr(kind, name, None)
        if method is None and name in ("fit", "predict"):
            raise _wrong(f"the class `Learner` has no method `{_shown(name)}`")
        if method is None:
            continue
        if not callable(method):
            raise _wrong(f"`{name}` of the class `Learner` is no method")
        _check_signature(name, method)
        found.append(name)
    if ("save" in found) != ("load" in found):
        raise _wrong("`save` and `load` belong together: define both or neither")
    return found


def _shown(name: str) -> str:
    return f"{name}({', '.join(('self',) + _SIGNATURES[name])})"


def _check_signature(name: str, method: Callable) -> None:
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # Some callables do not say what they take: the call will tell.
        return
    try:
        signature.bind(None, *_SIGNATURES[name])
    except TypeError:
        raise _wrong(f"`{name}{signature}` of the class `Learner` cannot be called as `{_shown(name)}`") from None


class Learning:
    """What an instance is given before ``__init__`` runs: ``self.data``, ``self.params``, and so on."""

    def __init__(self, conversation: Conversation, data: Data, setting: dict):
        self.data = data
        self.params: Dict[str, Any] = json.loads(setting["params"])
        self.device: str = setting["device"]
        self.threads: int = setting["threads"]
        self._conversation = conversation

    def progress(self, done: int, total: int, stage: str = "training") -> None:
        """Show how far a step is; raises `Cancelled` where the user wants to stop: let it pass."""
        self._conversation.tell("progress", {"stage": str(stage), "done": int(done), "total": int(total)})
        if self._conversation.poll():
            raise Cancelled("the user has stopped the run")

    def give_to(self, instance: Any) -> None:
        """Set the attributes."""
        for name in ("data", "params", "device", "threads", "progress"):
            setattr(instance, name, getattr(self, name))


class LearnerWorker:
    """Serves one learner over a conversation."""

    def __init__(self, conversation: Conversation, path: str):
        self._conversation = conversation
        self._path = path
        self._kind: Optional[type] = None
        self._parts: Dict[str, Part] = {}
        self._instance: Any = None

    def run(self) -> None:
        """Greet, then answer until the program says goodbye or closes its end."""
        self._conversation.wire.send("hello", {"protocol": PROTOCOL, "api": API, "language": "python"})
        greeting = self._conversation.next()
        if greeting is None or greeting.name != "hello":
            raise Broken("the program did not say hello")
        if greeting.get("protocol", int) != PROTOCOL:
            raise Broken("the program speaks another protocol: update the older one")
        served = {"open": self._open, "part": self._part, "create": self._create, "fit": self._fit}
        served.update(ask=self._ask, save=self._save, load=self._load)
        while True:
            frame = self._conversation.next()
            if frame is None or frame.name == "goodbye":
                return
            if frame.name not in served:
                raise Broken(f"unknown frame `{frame.name}`")
            self._conversation.answer(*self._caught(served[frame.name], frame))

    def _caught(self, serve: Callable[[Frame], Answer], frame: Frame) -> Answer:
        """The answer, or the fault that an exception of the script becomes."""
        if "log_level" in frame.fields:
            logs.listen(frame.get("log_level", int))
        self._conversation.begin()
        try:
            return serve(frame)
        except Broken:
            raise
        except Error as error:
            return "fault", fault(error.code, error.message, {**self._place(error), **error.details})
        except MemoryError as error:
            return "fault", fault(OutOfMemory.code, f"out of memory: {error}".rstrip(": "), self._place(error))
        except BaseException as error:  # `sys.exit` of a script ends the call, not the worker.
            message = f"{type(error).__name__}: {error}".rstrip(": ")
            return "fault", fault(RAISED, message, self._place(error))
        finally:
            frame.close()

    def _place(self, error: BaseException) -> Dict[str, str]:
        """The last line of the script that an exception came through, and the traceback from its first."""
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
            trace = trace.tb_next
        folder = os.path.dirname(self._path) + os.sep
        own = [line for line in traceback.extract_tb(trace) if line.filename.startswith(folder)]
        details = {"backtrace": "".join(traceback.format_exception(type(error), error, trace))}
        if own:
            last = own[-1]
            file = last.filename[len(folder) :]
            details["place"] = f"{file}:{last.lineno}, in {last.name}: {last.line}"
        return details

    def _open(self, frame: Frame) -> Answer:
        """Run the script: the bytes that the program has judged and hands over, and no file."""
        if frame.fd is None:
            raise Broken("`open` without a script")
        with open(os.dup(frame.fd), "rb") as file:
            file.seek(0)
            source = file.read()
        try:
            code = script.compiled(source, self._path)
            sources = {module["path"]: module["source"] for module in frame.fields.get("modules", [])}
            modules.install(os.path.dirname(self._path), sources)
        except Error as error:
            raise _wrong(error.message) from None
        module = self._ran(code, source)
        self._kind = getattr(module, "Learner", None)
        if not isinstance(self._kind, type):
            raise _wrong("the script defines no class `Learner`", "a learner is a class with `fit` and `predict`")
        confinement = os.environ.get("COLDSTART_CONFINEMENT", "")
        return "opened", {"methods": _methods(self._kind), "confinement": confinement, "versions": _versions()}

    def _ran(self, code: types.CodeType, source: bytes) -> types.ModuleType:
        """The module; what it raises while it is run makes it no learner."""
        try:
            return script.run(code, source, self._path, "learner_")
        except Broken:
            raise
        except BaseException as error:
            wrong = _wrong(f"{type(error).__name__}: {error}".rstrip(": "), "it is run by the first `python3` of your PATH")
            raise wrong.with_traceback(error.__traceback__) from None

    def _part(self, frame: Frame) -> Answer:
        content = Content(
            frame.get("name", str),
            numbers(frame.get("ids", bytes)),
            numbers(frame.get("labels", bytes)),
            tuple(frame.get("shape", list)),
            frame.get("files", list),
            frame.get("root", str),
        )
        self._parts[content.name] = part(content, frame.fd)
        return "taken", {}

    def _create(self, frame: Frame) -> Answer:
        if self._kind is None:
            raise Broken("`create` before `open`")
        data = Data(self._parts, frame.get("classes", list))
        instance = self._kind.__new__(self._kind)
        Learning(self._conversation, data, frame.fields).give_to(instance)
        instance.__init__()
        self._instance = instance
        return "created", {}

    def _created(self) -> Any:
        if self._instance is None:
            raise Broken("a question to a learner before `create`")
        return self._instance

    def _fit(self, frame: Frame) -> Answer:
        labelled, labels = numbers(frame.get("labelled", bytes)), numbers(frame.get("labels", bytes))
        seed = frame.get("seed", int)
        seed_everything(seed)
        told = self._created().fit(labelled, labels, seed, frame.get("warm", bool))
        return "fitted", {name: _told(told, name) for name in ("loss", "accuracy")}

    def _ask(self, frame: Frame) -> Answer:
        ids, method = numbers(frame.get("ids", bytes)), frame.get("method", str)
        seed_everything(frame.get("seed", int))
        arguments = (ids, frame.get("passes", int)) if method == "predict_dropout" else (ids,)
        answer = getattr(self._created(), method)(*arguments)
        if method == "gradient_factors":
            if not isinstance(answer, (tuple, list)) or len(answer) != 2:
                raise Error("it must return two arrays: residuals (n, c) and features (n, d)", kind="shape")
        for array in answer if method == "gradient_factors" else (answer,):
            self._send(_floats(array))
        return "answered", {}

    def _send(self, array: np.ndarray) -> None:
        wire, content = self._conversation.wire, memoryview(array).cast("B") if array.size else memoryview(b"")
        wire.send("array", {"shape": list(array.shape)})
        for start in range(0, len(content), _PIECE):
            wire.send("piece", {"bytes": bytes(content[start : start + _PIECE])})

    def _save(self, frame: Frame) -> Answer:
        path = frame.get("path", str)
        self._created().save(path)
        if not os.path.isfile(path):
            other = next((path + ending for ending in (".npz", ".npy") if os.path.isfile(path + ending)), None)
            message = f"no file is at the path that it was given, `{path}`"
            message += f", but there is `{other}`: `with open(path, \"wb\") as file:`, and hand numpy the file" if other else ""
            raise Error(message, kind="shape")
        return "saved", {}

    def _load(self, frame: Frame) -> Answer:
        self._created().load(frame.get("path", str))
        return "loaded", {}


def seed_everything(seed: int) -> None:
    """Seed the generators that belong to nobody: of Python, of numpy, and of torch where the script has imported it."""
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _told(told: object, name: str) -> Optional[float]:
    """A number that `fit` has returned, if it has."""
    value = told.get(name) if isinstance(told, dict) else None
    return None if value is None else float(value)


def _floats(answer: object) -> np.ndarray:
    """An answer as 32-bit floats; errs on what is no array of numbers."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu().numpy()
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError) as error:
        raise Error(f"it must return an array of numbers: {error}", kind="shape") from None
    if array.dtype.kind not in "fiub":
        raise Error(f"it must return an array of numbers, and returned {_of(answer, array)}", kind="shape")
    with np.errstate(over="ignore"):  # What does not fit becomes infinite, and the program says so.
        return np.ascontiguousarray(array.astype("<f4", copy=False))


def _of(answer: object, array: np.ndarray) -> str:
    return type(answer).__name__ if array.dtype == object else f"an array of {array.dtype}"


def _versions() -> Dict[str, str]:
    """The interpreter's version, and those of well-known packages that are imported."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    return versions

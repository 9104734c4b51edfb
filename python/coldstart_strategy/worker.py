"""The worker: one script, asked by the program until it says goodbye."""

from __future__ import annotations

import json
import os
import traceback
import types
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from . import logs, modules, script, sizing
from .errors import POISONED, RAISED, BadParams, Broken, Error, OutOfMemory, fault
from .host import Host
from .request import Request, checked
from .wire import PROTOCOL, Conversation, Frame

#: The contract that this worker speaks.
API = "1.3.0"
#: Where this kit lies: its own lines are left out of a script's traceback.
_HERE = os.path.dirname(os.path.abspath(__file__))

#: The name and the fields of an answer.
Answer = Tuple[str, dict]


def _params(text: str) -> Dict[str, Any]:
    """The parameters, which come as JSON; a ``BadParams`` where they do not."""
    try:
        params = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadParams(f"the parameters are no JSON: {error}") from None
    if not isinstance(params, dict):
        raise BadParams("the parameters are no table of names and values")
    return params


class Worker:
    """Serves one script over a conversation."""

    def __init__(self, conversation: Conversation, path: str):
        self._conversation = conversation
        self._host = Host(conversation)
        self._path = path
        self._source = b""
        self._code: Optional[types.CodeType] = None
        self._instance: Optional[script.Instance] = None
        self._is_sizer = False
        self._poisoned = False

    def run(self) -> None:
        """Greet, then answer until the host says goodbye or closes its end."""
        self._conversation.wire.send("hello", {"protocol": PROTOCOL, "api": API, "language": "python"})
        self._greeted(self._conversation.next())
        served = {"open": self._open, "create": self._create, "select": self._select}
        served.update(save=self._save, load=self._load)
        while True:
            frame = self._conversation.next()
            if frame is None or frame.name == "goodbye":
                return
            if frame.name not in served:
                raise Broken(f"unknown frame `{frame.name}`")
            self._conversation.answer(*self._caught(served[frame.name], frame))

    def _greeted(self, frame: Optional[Frame]) -> None:
        if frame is None or frame.name != "hello":
            raise Broken("the host did not say hello")
        if frame.get("protocol", int) != PROTOCOL:
            theirs = frame.fields["protocol"]
            raise Broken(f"the host speaks protocol {theirs}, this kit {PROTOCOL}: update the older one")

    def _caught(self, serve: Callable[[Frame], Answer], frame: Frame) -> Answer:
        """The answer, or the fault that an exception of the script becomes."""
        try:
            if self._poisoned:
                return "fault", fault(POISONED, "this instance raised in an earlier call", {})
            return serve(frame)
        except Broken:
            raise
        except Error as error:
            return "fault", fault(error.code, error.message, error.details)
        except MemoryError as error:
            return "fault", fault(OutOfMemory.code, f"out of memory: {error}".rstrip(": "), _trace(error, self._path))
        except BaseException as error:  # `sys.exit` of a script ends the call, not the worker.
            self._poisoned = self._instance is not None
            message = f"{type(error).__name__}: {error}".rstrip(": ")
            return "fault", fault(RAISED, message, _trace(error, self._path))
        finally:
            frame.close()

    def _open(self, frame: Frame) -> Answer:
        """Compile the script and its modules: the bytes that the host has checked and hands over, and no file.

        The manifest is what the host has read from the script, and how the worker is shut in is what the host did: a
        worker that has run nothing yet adds nothing to either.
        """
        if frame.fd is None:
            raise Broken("`open` without a script")
        with open(os.dup(frame.fd), "rb") as file:
            file.seek(0)
            self._source = file.read()
        try:
            self._code = script.compiled(self._source, self._path)
            modules.install(os.path.dirname(self._path), _sources(frame))
        except Error as error:
            return "refused", {"code": "P009", "message": error.message}
        confinement = os.environ.get("COLDSTART_CONFINEMENT", "")
        descriptor = frame.get("descriptor", str)
        self._is_sizer = "sizer" in json.loads(descriptor).get("roles", [])
        return "opened", {"descriptor": descriptor, "confinement": confinement}

    def _create(self, frame: Frame) -> Answer:
        if self._code is None:
            raise Broken("`create` before `open`")
        params = _params(frame.get("params", str))
        logs.listen(frame.get("log_level", int))
        self._conversation.begin()
        module = script.run(self._code, self._source, self._path)
        self._instance = script.Instance(module, params, self._host, self._is_sizer)
        return "created", {}

    def _created(self) -> script.Instance:
        if self._instance is None:
            raise Broken("a question to a strategy before `create`")
        return self._instance

    def _select(self, frame: Frame) -> Answer:
        instance = self._created()
        logs.listen(frame.get("log_level", int))
        self._conversation.begin()
        request = Request(
            round=frame.get("round", int),
            budget=frame.get("budget", int),
            seed=frame.get("seed", bytes),
            unlabelled=self._ids(frame, "unlabelled"),
            labelled=self._ids(frame, "labelled"),
            params=instance.params,
        )
        if instance.is_sizer:
            limits = sizing.bounds(frame.get("extra", bytes))
            answer = sizing.report(instance.size(request, limits, self._host))
            return "selected", {"ids": b"", "scores": b"", "report": answer}
        selection = checked(instance.select(request, self._host))
        return "selected", {"ids": selection.ids.tobytes(), "scores": selection.scores.tobytes()}

    def _ids(self, frame: Frame, field: str) -> np.ndarray:
        ids = self._host.read(frame.get(field, int))
        # A script that shuffles these in place would get other images than its scores are for.
        ids.setflags(write=False)
        return ids

    def _save(self, frame: Frame) -> Answer:
        return "saved", {"state": self._created().save()}

    def _load(self, frame: Frame) -> Answer:
        self._created().load(frame.get("state", bytes))
        return "loaded", {}


def _sources(frame: Frame) -> Dict[str, bytes]:
    """The modules that the script names: their sources by path."""
    return {module["path"]: module["source"] for module in frame.fields.get("modules", [])}


def _trace(error: BaseException, path: str) -> dict:
    """Place and traceback of an exception, from the script's first line on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    lines = traceback.extract_tb(trace)
    of_script = [line for line in lines if line.filename == path] or list(lines)
    place = f"at {of_script[-1].filename}:{of_script[-1].lineno}, in {of_script[-1].name}\n" if of_script else ""
    text = "".join(traceback.format_exception(type(error), error, trace))
    return {"backtrace": place + text}

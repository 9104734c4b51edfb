"""A script as a strategy: its source compiled, run, and asked."""

from __future__ import annotations

import linecache
import os
import sys
import types
from typing import Any, Callable, Dict, Optional

from .errors import BadParams, Error
from .host import Host
from .request import Request
from .sizing import Bounds


def compiled(source: bytes, path: str) -> types.CodeType:
    """The code of a script; nothing of it runs yet."""
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line, text = getattr(error, "lineno", None), (getattr(error, "text", None) or "").strip()
        place = f" at {path}:{line}" if line else f" in {path}"
        place += f": {text}" if text else ""
        raise Error(f"{type(error).__name__}: {getattr(error, 'msg', error)}{place}") from None


def run(code: types.CodeType, source: bytes, path: str, kind: str = "strategy_") -> types.ModuleType:
    """Run a script as a module, whose name begins with ``kind``. Its folder is no place to import from."""
    name = kind + os.path.splitext(os.path.basename(path))[0]
    remember_lines(path, source)
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def remember_lines(path: str, source: bytes) -> None:
    """Tracebacks show the lines that ran, whatever the file holds by then."""
    text = source.decode(errors="replace")
    linecache.cache[path] = (len(text), None, text.splitlines(True), path)


class Instance:
    """A strategy or a sizer with its parameters: a class of the script, or the script's functions themselves."""

    def __init__(self, module: types.ModuleType, params: Dict[str, Any], host: Host, is_sizer: bool = False):
        self.params = params
        #: Whether it says how large the initial set should be, instead of choosing.
        self.is_sizer = is_sizer
        kind_name, function = ("Sizer", "size") if is_sizer else ("Strategy", "select")
        kind, select = getattr(module, kind_name, None), getattr(module, function, None)
        if kind is not None and select is not None:
            raise Error(f"the script defines both `{function}` and `{kind_name}`: keep one")
        if kind is None and select is None:
            asked = "size(request, bounds, host)" if is_sizer else "select(request, host)"
            raise Error(f"the script defines neither a function `{asked}` nor a class `{kind_name}`")
        self._of: Any = module if kind is None else kind(params, host)
        self._select, self._size = self._function("select"), self._function("size")
        self._save, self._load = self._function("save"), self._function("load")
        if (self._save is None) != (self._load is None):
            raise Error("`save` and `load` belong together: define both or neither")

    def _function(self, name: str) -> Optional[Callable]:
        function = getattr(self._of, name, None)
        if function is not None and not callable(function):
            raise Error(f"`{name}` is no function")
        return function

    def select(self, request: Request, host: Host) -> object:
        """Whatever the script chooses."""
        if self._select is None:
            raise Error("the class `Strategy` has no method `select(self, request, host)`")
        return self._select(request, host)

    def size(self, request: Request, limits: Bounds, host: Host) -> object:
        """Whatever the script says."""
        if self._size is None:
            raise Error("the class `Sizer` has no method `size(self, request, bounds, host)`")
        return self._size(request, limits, host)

    def save(self) -> bytes:
        """The state to store after a round; empty for a script that keeps none."""
        if self._save is None:
            return b""
        state = self._save()
        if not isinstance(state, (bytes, bytearray)):
            raise Error(f"`save` must return bytes, got {type(state).__name__}")
        return bytes(state)

    def load(self, state: bytes) -> None:
        """Take up a stored state."""
        if self._load is not None:
            self._load(state)
        elif state:
            raise BadParams("this strategy keeps no state, but was given one")

"""The modules that a script names: imported from memory, for the script's folder stays closed."""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Dict, NamedTuple, Optional, Sequence

from .errors import Error
from .script import compiled, remember_lines


class _Module(NamedTuple):
    file: str
    source: bytes
    code: types.CodeType
    is_package: bool


class Modules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the named modules, and nothing else. A folder above one is a package, also without a file of its own."""

    def __init__(self, folder: str, sources: Dict[str, bytes]):
        self._modules: Dict[str, _Module] = {}
        for path, source in sorted(sources.items()):
            file = os.path.join(folder, path)
            name = path[: -len(".py")].replace("/", ".")
            is_package = name.endswith(".__init__")
            name = name[: -len(".__init__")] if is_package else name
            self._modules[name] = _Module(file, source, compiled(source, file), is_package)
        for name in list(self._modules):
            self._add_packages_above(name, folder)

    def _add_packages_above(self, name: str, folder: str) -> None:
        while "." in name:
            name = name.rpartition(".")[0]
            file = os.path.join(folder, *name.split("."), "__init__.py")
            self._modules.setdefault(name, _Module(file, b"", compiled(b"", file), True))

    def check_names(self) -> None:
        """Errs where Python has a module of that name already: it would be a matter of luck which one is imported."""
        for top in sorted({name.partition(".")[0] for name in self._modules}):
            if top in sys.modules or importlib.util.find_spec(top) is not None:
                raise Error(f"`{top}` in its `modules` is the name of a module that Python has already: rename it")

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[ModuleSpec]:
        module = self._modules.get(name)
        if module is None:
            return None
        spec = ModuleSpec(name, self, origin=module.file, is_package=module.is_package)
        spec.has_location = True
        return spec

    def exec_module(self, module: types.ModuleType) -> None:
        found = self._modules[module.__name__]
        remember_lines(found.file, found.source)
        exec(found.code, module.__dict__)


class Unnamed(importlib.abc.MetaPathFinder):
    """Asked when nothing else has found a module: says so where one lies beside the script and is not named."""

    def __init__(self, folder: str):
        self._folder = folder

    def find_spec(
        self, name: str, path: Optional[Sequence[str]] = None, target: Optional[types.ModuleType] = None
    ) -> Optional[ModuleSpec]:
        below = name.replace(".", "/")
        for file in (f"{below}.py", f"{below}/__init__.py"):
            # Whether it is there can be seen from within the sandbox; what is in it cannot.
            if os.path.exists(os.path.join(self._folder, file)):
                message = f"`{file}` lies beside the script, but the script does not name it"
                advice = f"write `modules = [\"{file}\"]` into its block `# /// coldstart`"
                raise ModuleNotFoundError(f"No module named '{name}': {message}: {advice}")
        if os.path.isdir(os.path.join(self._folder, below)):
            message = f"`{below}` is a folder beside the script, of which the script names no module"
            advice = f"write `modules = [\"{below}/NAME.py\"]` into its block `# /// coldstart`, for each that it imports"
            raise ModuleNotFoundError(f"No module named '{name}': {message}: {advice}")
        return None


def install(folder: str, sources: Dict[str, bytes]) -> None:
    """Have the modules found from now on; raises Error at a syntax error and at a name that is taken."""
    modules = Modules(folder, sources)
    modules.check_names()
    sys.meta_path.insert(0, modules)
    sys.meta_path.append(Unnamed(folder))


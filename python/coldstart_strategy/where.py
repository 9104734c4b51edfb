"""What a sandbox has to leave open for this interpreter: asked once, outside of it and before any script."""

from __future__ import annotations

import os
import site
import sys
from typing import Dict, List

#: The same numbers on every machine: no order of sets that is drawn at random, and no sums split among threads.
_FIXED = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def answer(version: str) -> dict:
    """Interpreter, folders to read beside the script's own, and the whole environment of the worker."""
    return {"version": version, "python": sys.executable, "read": _folders(), "env": _environment()}


def _folders() -> List[str]:
    kit = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, kit}
    found.update(path for path in sys.path if path)
    real = {os.path.realpath(path) for path in found if os.path.exists(path)}
    real.add(os.path.dirname(os.path.realpath(sys.executable)))
    return sorted(real)


def _environment() -> Dict[str, str]:
    environment = dict(_FIXED)
    if os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    # Where `pip install --user` puts packages; the worker has no home to find it by.
    if site.ENABLE_USER_SITE and site.getuserbase():
        environment["PYTHONUSERBASE"] = site.getuserbase()
    return environment

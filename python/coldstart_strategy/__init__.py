"""The kit for a Coldstart strategy in Python: what a script imports, and the worker that runs it.

A script defines ``select(request, host)``, or a class ``Strategy`` with that method. The program starts a worker for
it in a sandbox; the two speak over a socket (`wire`), and everything that a script asks of its `Host` is answered by
the program.
"""

from . import training
from .errors import BadParams, Cancelled, Error, HostFailed, OutOfMemory, Unsupported
from .host import Clusters, EnvInfo, Host, Neighbours, PoolInfo, Predict, Trained, Views
from .request import Request, Selection
from .rng import Rng

__version__ = "1.1.0"

__all__ = [
    "BadParams",
    "Cancelled",
    "Clusters",
    "EnvInfo",
    "Error",
    "Host",
    "HostFailed",
    "Neighbours",
    "OutOfMemory",
    "PoolInfo",
    "Predict",
    "Request",
    "Rng",
    "Selection",
    "Trained",
    "Unsupported",
    "Views",
    "training",
]

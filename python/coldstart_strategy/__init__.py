"""The kit for a Coldstart strategy in Python: what a script imports, and the worker that runs it.

A script defines ``select(request, host)``, or a class ``Strategy`` with that method. The program starts a worker for
it in a sandbox; the two speak over a socket (`wire`), and everything that a script asks of its `Host` is answered by
the program.
"""

from . import training
from .errors import BadParams, Cancelled, Error, HostFailed, OutOfMemory, Unsupported
from .host import Clusters, Dropout, EnvInfo, Host, Neighbours, Picks, PoolInfo, Predict, Trained, Views
from .request import Request, Selection
from .rng import Rng

__version__ = "1.2.0"

__all__ = [
    "BadParams",
    "Cancelled",
    "Clusters",
    "Dropout",
    "EnvInfo",
    "Error",
    "Host",
    "HostFailed",
    "Neighbours",
    "OutOfMemory",
    "Picks",
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

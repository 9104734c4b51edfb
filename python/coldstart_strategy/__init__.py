"""The kit for a Coldstart strategy in Python: what a script imports, and the worker that runs it.

A script defines ``select(request, host)``, or a class ``Strategy`` with that method; a sizer defines
``size(request, bounds, host)``, or a class ``Sizer`` with that method. The program starts a worker for
it in a sandbox; the two speak over a socket (`wire`), and everything that a script asks of its `Host` is answered by
the program.
"""

from . import training
from .errors import BadParams, Cancelled, Error, HostFailed, OutOfMemory, Unsupported
from .host import (
    Clusters,
    Dropout,
    EnvInfo,
    Host,
    LearnerInfo,
    Neighbours,
    Picks,
    PoolInfo,
    Predict,
    Prequential,
    RunInfo,
    StrategyInfo,
    Trained,
    Views,
)
from .request import Request, Selection
from .rng import Rng
from .sizing import Bounds, Sizing

__version__ = "1.3.0"

__all__ = [
    "BadParams",
    "Bounds",
    "Cancelled",
    "Clusters",
    "Dropout",
    "EnvInfo",
    "Error",
    "Host",
    "HostFailed",
    "LearnerInfo",
    "Neighbours",
    "OutOfMemory",
    "Picks",
    "PoolInfo",
    "Predict",
    "Prequential",
    "Request",
    "Rng",
    "RunInfo",
    "Selection",
    "Sizing",
    "StrategyInfo",
    "Trained",
    "Unsupported",
    "Views",
    "training",
]

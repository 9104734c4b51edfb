"""The worker's way in: how the program starts a script; its end of the socket is descriptor 0."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from typing import NoReturn, Type, Union

from . import logs
from .errors import Broken
from .learner import LearnerWorker
from .wire import Conversation, Wire
from .worker import Worker

_USAGE = """This is the worker that Coldstart starts for a strategy in Python. Write its file into a config:

    [query]
    strategy = "my_idea.py"
"""


def serve(script: str) -> NoReturn:
    """Serve one script, and end the process: with 0 after a goodbye, 1 when the conversation broke, 2 when started by hand."""
    code = main(script)
    sys.stderr.flush()
    # A thread that the script left behind must not keep the worker alive.
    os._exit(code)


def serve_learner(script: str) -> NoReturn:
    """The same for a learner."""
    code = main(script, LearnerWorker)
    sys.stderr.flush()
    os._exit(code)


def main(script: str, kind: Union[Type[Worker], Type[LearnerWorker]] = Worker) -> int:
    """Serve one script; the exit code."""
    if not script or not stat.S_ISSOCK(os.fstat(0).st_mode):
        sys.stderr.write(_USAGE)
        return 2
    conversation = Conversation(Wire(_socket()))
    # The program asks for an end with a frame; Ctrl-C on its terminal is not for the worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.dont_write_bytecode = True
    # Whatever writes past Python's own standard output is among the worker's last words.
    os.dup2(2, 1)
    sys.stdout = logs.Printed()
    logs.install(conversation)
    try:
        kind(conversation, script).run()
    except Broken as error:
        sys.stderr.write(f"coldstart_strategy: {error}\n")
        return 1
    return 0


def _socket() -> socket.socket:
    """The host's socket, moved away from descriptor 0, which reads as empty from now on."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=os.dup(0))
    # This file, read to its end: a sandbox may have no /dev/null and allow no pipe.
    with open(__file__, "rb") as file:
        file.seek(0, os.SEEK_END)
        os.dup2(file.fileno(), 0)
    return sock


if __name__ == "__main__":
    serve(sys.argv[1] if len(sys.argv) == 2 else "")

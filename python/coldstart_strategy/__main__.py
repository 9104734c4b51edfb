"""``python3 -m coldstart_strategy SCRIPT``: how the program starts a script; its end of the socket is descriptor 0."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys

from . import __version__, logs, where
from .errors import Broken
from .wire import Conversation, Wire
from .worker import Worker

_USAGE = """This is the worker that Coldstart starts for a strategy in Python. Write its file into a config:

    [query]
    strategy = "my_idea.py"

or ask what a sandbox has to leave open for this interpreter: python3 -m coldstart_strategy --where
"""


def main() -> int:
    """Serve one script; 0 after a goodbye, 1 when the conversation broke, 2 when started by hand."""
    # With `-m` the current folder comes first: a file there must not stand in for a module.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[0]
    if sys.argv[1:] == ["--where"]:
        print(json.dumps(where.answer(__version__)))
        return 0
    if len(sys.argv) != 2 or not stat.S_ISSOCK(os.fstat(0).st_mode):
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
        Worker(conversation, sys.argv[1]).run()
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
    code = main()
    sys.stderr.flush()
    # A thread that the script left behind must not keep the worker alive.
    os._exit(code)

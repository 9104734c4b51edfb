"""The module `logging`, carried to the program: whatever a script logs ends in the run's own log."""

from __future__ import annotations

import io
import logging
import traceback

import msgpack

from .errors import shortened
from .wire import Conversation

#: The level that lets nothing through, then those of the wire: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
_LEVELS = (logging.CRITICAL + 1, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG, 1)


class Bridge(logging.Handler):
    """Sends every record as a frame, at once during a call and else at the next one."""

    def __init__(self, conversation: Conversation):
        super().__init__()
        self._conversation = conversation

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a record that cannot be formatted says so instead of raising."""
        try:
            message = record.getMessage()
        except Exception as error:
            message = f"{record.msg!r} cannot be formatted with {record.args!r}: {error}"
        fields = {}
        if record.exc_info and record.exc_info[0]:
            fields["traceback"] = shortened("".join(traceback.format_exception(*record.exc_info)))
        level = next(number for number, least in enumerate(_LEVELS) if record.levelno >= least or number == 5)
        packed = msgpack.packb(fields, unicode_errors="replace") if fields else b""
        target, message = shortened(record.name), shortened(message)
        self._conversation.log({"level": max(level, 1), "target": target, "message": message, "fields": packed})


class Printed(io.TextIOBase):
    """Standard output of a script: every line becomes a record of the level info."""

    #: Characters without a line's end that are still kept for the rest of their line.
    _LONGEST = 1 << 16

    def __init__(self) -> None:
        super().__init__()
        self._rest = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that are complete; the rest waits for its end."""
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > self._LONGEST:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            logging.getLogger("print").info("%s", line)
        return len(text)


def install(conversation: Conversation) -> None:
    """Make the bridge the one handler of the root logger; warnings go the same way."""
    root = logging.getLogger()
    root.handlers[:] = [Bridge(conversation)]
    logging.captureWarnings(True)


def listen(level: int) -> None:
    """From now on the host listens to records up to this level of the wire."""
    logging.getLogger().setLevel(_LEVELS[min(max(level, 0), 5)])

"""Errors with a code, as they cross to the program and back."""

from __future__ import annotations

from typing import Dict

import msgpack

#: The most bytes of a log message and of an error's sentence: the host does not hear out much longer ones.
MOST_TEXT = 1 << 16
#: The most details of an error.
_MOST_DETAILS = 7
#: A script raised something that it did not mean to raise: the counterpart of a panic in Rust.
RAISED = 4
#: The instance raised earlier and refuses further calls.
POISONED = 5


class Error(Exception):
    """A strategy's own error: one sentence for a person; `details` may hold a ``hint``.

    Anything else that a script raises is taken for a bug of the script, and shown with its traceback.
    """

    code = 100

    def __init__(self, message: str, **details: str):
        super().__init__(message)
        self.message = message
        self.details = details


class Cancelled(Error):
    """The user has cancelled the run: let it pass."""

    code = 1


class Unsupported(Error):
    """The host does not offer the operation, or not now: no model is trained in round 0."""

    code = 2


class BadParams(Error):
    """The parameters, arguments or state bytes are wrong."""

    code = 3


class OutOfMemory(Error):
    """Memory ran out."""

    code = 6


class HostFailed(Error):
    """The host failed while it served an operation."""

    code = 7


class Broken(BaseException):
    """The conversation with the program cannot go on: the worker ends. No script can catch it by accident."""


def shortened(text: str) -> str:
    """The text, cut at ``MOST_TEXT`` bytes with a note of what is left out."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MOST_TEXT:
        return text
    kept = encoded[:MOST_TEXT].decode("utf-8", "ignore")
    return f"{kept}... {len(encoded) - len(kept.encode())} bytes left out"


_KINDS = {kind.code: kind for kind in (Cancelled, Unsupported, BadParams, OutOfMemory, HostFailed)}


def fault(code: int, message: str, details: Dict[str, str]) -> dict:
    """The fields of a frame ``fault``."""
    details = {shortened(str(name)): shortened(str(text)) for name, text in list(details.items())[:_MOST_DETAILS]}
    detail = msgpack.packb(details, unicode_errors="replace") if details else b""
    return {"code": code, "message": shortened(message), "detail": detail}


def of_fault(fields: dict, context: str) -> Error:
    """The exception for a fault of the host's, its sentence after ``context``."""
    code, message = fields.get("code"), fields.get("message")
    if not isinstance(code, int) or not isinstance(message, str):
        raise Broken(f"a fault without code and message: {fields!r}")
    try:
        details = msgpack.unpackb(fields.get("detail") or b"\x80")
        details = {str(name): str(text) for name, text in details.items()}
    except Exception:  # A newer host may send what this kit cannot read: the sentence is enough then.
        details = {}
    error = _KINDS.get(code, Error)(f"{context}: {message}", **details)
    error.code = code
    return error

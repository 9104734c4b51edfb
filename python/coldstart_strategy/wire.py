"""Frames: a length, then a MessagePack map with one key, over a Unix stream socket; some carry a file descriptor.

`Conversation` keeps the order of things: the host asks, and while it waits for the answer the script may call back.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from array import array
from collections import deque
from typing import NamedTuple, Optional, Tuple

import msgpack

from .errors import Broken, Error, of_fault

#: The version of the frames.
PROTOCOL = 1
#: The most bytes of a frame's body.
MOST_BYTES = 1 << 30
#: Log records that wait for the next call; later ones are dropped, so that a flood costs bounded memory.
MOST_WAITING = 10_000


class Frame(NamedTuple):
    """One message: its name, its fields, and a descriptor that is now ours to close."""

    name: str
    fields: dict
    fd: Optional[int]

    def get(self, field: str, kind: type):
        """A field that must be there, of this type; the conversation is broken otherwise."""
        value = self.fields.get(field)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Broken(f"the frame `{self.name}` has no field `{field}` of type {kind.__name__}")
        return value

    def close(self) -> None:
        """Close a descriptor that nobody asked for."""
        if self.fd is not None:
            os.close(self.fd)


class Wire:
    """A socket that frames go over, in both directions and whole."""

    def __init__(self, sock: socket.socket):
        self._socket = sock
        self._sending = threading.Lock()

    def send(self, name: str, fields: dict) -> None:
        """Send one frame; from any thread."""
        body = msgpack.packb({name: fields}, unicode_errors="replace")
        if len(body) > MOST_BYTES:
            raise Error(f"{len(body)} bytes are more than one message to the host holds: at most {MOST_BYTES}")
        try:
            with self._sending:
                self._socket.sendall(struct.pack("<I", len(body)))
                self._socket.sendall(body)
        except OSError as error:
            raise Broken(f"the host is gone: {error}") from None

    def receive(self) -> Optional[Frame]:
        """The next frame, or none where the host has closed its end; blocks."""
        header, fd = self._header()
        if not header:
            return None
        try:
            (length,) = struct.unpack("<I", header)
            if length > MOST_BYTES:
                raise Broken(f"a frame of {length} bytes; at most {MOST_BYTES} are allowed")
            name, fields = _only_entry(self._exactly(length))
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise
        return Frame(name, fields, fd)

    def ready(self) -> bool:
        """Whether something has come in."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def _header(self) -> Tuple[bytes, Optional[int]]:
        """Four bytes, and the descriptor that came with the first of them."""
        fds = array("i")
        try:
            first, control, _, _ = self._socket.recvmsg(4, socket.CMSG_LEN(fds.itemsize), socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise Broken(f"the host is gone: {error}") from None
        for level, kind, data in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        fd = fds[0] if fds else None
        return (first + self._exactly(4 - len(first)) if first else b""), fd

    def _exactly(self, count: int) -> bytearray:
        buffer = bytearray(count)
        view, read = memoryview(buffer), 0
        while read < count:
            try:
                some = self._socket.recv_into(view[read:])
            except OSError as error:
                raise Broken(f"the host is gone: {error}") from None
            if some == 0:
                raise Broken(f"a frame ends after {read} of {count} bytes")
            read += some
        return buffer


def _only_entry(body: bytearray) -> Tuple[str, dict]:
    try:
        frame = msgpack.unpackb(body)
    except Exception as error:
        raise Broken(f"a frame is no MessagePack: {error}") from None
    return only_entry(frame)


def only_entry(message: object) -> Tuple[str, dict]:
    """Name and fields of a map with one key whose value is a map."""
    if isinstance(message, dict) and len(message) == 1:
        ((name, fields),) = message.items()
        if isinstance(name, str) and isinstance(fields, dict):
            return name, fields
    raise Broken("expected a map with one name and its fields")


class Conversation:
    """The worker's side: answers what the host asks, and asks back while the host waits."""

    def __init__(self, wire: Wire):
        self.wire = wire
        #: Whether the user wants to stop; never taken back.
        self.cancelled = False
        # Held for a question and its reply; a second thread's question waits.
        self._asking = threading.Lock()
        # Held while it is decided whether the host listens; never for long, so that threads can log during a question.
        self._turn = threading.Lock()
        self._host_waits = False
        self._last_id = 0
        self._logs: deque = deque()

    def next(self) -> Optional[Frame]:
        """What the host asks for next, or none where it has gone."""
        while True:
            frame = self.wire.receive()
            if frame is None or frame.name != "cancel":
                return frame
            self.cancelled = True

    def begin(self) -> None:
        """From now on the host waits for an answer, and serves calls meanwhile."""
        with self._turn:
            self._host_waits = True
            while self._logs:
                self.wire.send("log", self._logs.popleft())

    def answer(self, name: str, fields: dict) -> None:
        """Give the answer; a call that another thread has under way is finished first."""
        with self._asking, self._turn:
            self._host_waits = False
            self.wire.send(name, fields)

    def ask(self, question: str, fields: dict, context: str) -> Frame:
        """Ask the host something; raises its fault as an exception, the sentence after ``context``."""
        with self._asking:
            if not self._host_waits:
                raise Error("the host can be asked only during a call: do not keep it for later")
            self._last_id += 1
            self.wire.send("call", {"id": self._last_id, "ask": {question: fields}})
            reply = self._reply()
        name, answer = only_entry(reply.get("answer", dict))
        if name == "fault":
            reply.close()
            raise of_fault(answer, context)
        return Frame(name, answer, reply.fd)

    def _reply(self) -> Frame:
        while True:
            frame = self.next()
            if frame is None:
                raise Broken("the host went away in the middle of a call")
            if frame.name == "reply" and frame.get("id", int) == self._last_id:
                return frame
            frame.close()
            raise Broken(f"expected the reply {self._last_id}, got the frame `{frame.name}`")

    def poll(self) -> bool:
        """Whether the user wants to stop, as far as the host has said so by now."""
        if self.cancelled or not self._asking.acquire(blocking=False):
            return self.cancelled
        try:
            while self._host_waits and not self.cancelled and self.wire.ready():
                self._take_cancel()
        finally:
            self._asking.release()
        return self.cancelled

    def _take_cancel(self) -> None:
        """Between calls nothing else than `cancel` can come."""
        frame = self.wire.receive()
        if frame is None or frame.name != "cancel":
            raise Broken(f"the frame `{frame.name}` in the middle of a call" if frame else "the host is gone")
        self.cancelled = True

    def tell(self, name: str, fields: dict) -> None:
        """Say something that wants no answer; lost when the host does not listen."""
        with self._turn:
            if self._host_waits:
                self.wire.send(name, fields)

    def log(self, fields: dict) -> None:
        """Send a log record, now or at the next call."""
        with self._turn:
            if self._host_waits:
                self.wire.send("log", fields)
            elif len(self._logs) < MOST_WAITING:
                self._logs.append(fields)

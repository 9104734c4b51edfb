"""A host for tests: starts the worker as the program does, speaks the frames, and keeps tensors in memory files."""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import msgpack
import numpy as np

PYTHON = Path(__file__).resolve().parent.parent
DTYPES = [np.dtype("<f4"), np.dtype("<u8"), np.dtype("u1")]
SEED = bytes(range(32))


#: All that a worker may know of its surroundings.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(PYTHON)}


class FakeHost:
    """One worker with one script. `serve` maps an operation to a function of (args, inputs) -> (answer, outputs)."""

    #: How the interpreter is told to serve the script, which follows.
    SERVE = ("-m", "coldstart_strategy")

    def __init__(self, source, name="my_idea.py", serve=None):
        self.folder = tempfile.TemporaryDirectory()
        self.script = Path(self.folder.name, name)
        self.script.write_text(source)
        self.serve = serve or {}
        self.tensors, self.logs, self.progress, self.released = {}, [], [], []
        #: Called with each ask; a test hangs mischief in here.
        self.before_reply = lambda ask: None
        self.socket, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(120)
        self.process = subprocess.Popen(
            [sys.executable, *self.SERVE, str(self.script)],
            stdin=worker,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**ENVIRONMENT, "PYTHONWARNINGS": "always", "COLDSTART_CONFINEMENT": "full"},
        )
        worker.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.folder.cleanup()

    def send(self, name, fields, fd=None):
        self.send_body(msgpack.packb({name: fields}), fd)

    def send_body(self, body, fd=None):
        header = struct.pack("<I", len(body))
        if fd is None:
            self.socket.sendall(header)
        else:
            socket.send_fds(self.socket, [header], [fd])
        self.socket.sendall(body)

    def receive(self):
        header = self._exactly(4)
        return next(iter(msgpack.unpackb(self._exactly(struct.unpack("<I", header)[0])).items()))

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            some = self.socket.recv(count - len(data))
            if not some:
                raise EOFError(f"the worker is gone after {len(data)} of {count} bytes")
            data += some
        return data

    def ask(self, name, fields, fd=None):
        """Ask the worker, serve it meanwhile, and return its answer as (name, fields)."""
        self.send(name, fields, fd)
        return self.answer()

    def answer(self):
        while True:
            name, fields = self.receive()
            if name == "call":
                self._reply(fields["id"], *next(iter(fields["ask"].items())))
            elif name == "log":
                self.logs.append((fields["level"], fields["target"], fields["message"], fields["fields"]))
            elif name == "progress":
                self.progress.append((fields["stage"], fields["done"], fields["total"]))
            elif name == "release":
                self.released.append(fields["tensor"])
                del self.tensors[fields["tensor"]]
            else:
                return name, fields

    def start(self, params="{}", log_level=3, source=None, modules=(), roles=("initial", "query")):
        """Greet, open and create; the answer to `create`. The worker is handed the bytes, as the host has checked them."""
        assert self.ask("hello", {"protocol": 1, "api": "1.3.0"}) == (
            "hello",
            {"protocol": 1, "api": "1.3.0", "language": "python"},
        )
        told = {"descriptor": json.dumps({"name": "my-idea", "roles": list(roles)}), "confinement": "full"}
        opening = {"descriptor": told["descriptor"], "memory": 1 << 30, "strict": False}
        opening["modules"] = [{"path": path, "source": text.encode()} for path, text in dict(modules).items()]
        with open(os.memfd_create("script"), "wb") as file:
            file.write(self.script.read_bytes() if source is None else source.encode())
            file.flush()
            name, fields = self.ask("open", opening, file.fileno())
        if name == "refused":
            return name, fields
        assert (name, fields) == ("opened", told), (name, fields)
        return self.ask("create", {"name": "my-idea", "params": params, "log_level": log_level})

    def select(self, budget=2, unlabelled=(1, 2, 3, 5, 8), labelled=(0, 4), round=1, log_level=3):
        """The answer to `select`, ids and scores as lists."""
        ids = [self.keep(np.array(ids, dtype="<u8")) for ids in (unlabelled, labelled)]
        request = {"round": round, "budget": budget, "seed": SEED, "unlabelled": ids[0], "labelled": ids[1]}
        name, fields = self.ask("select", {**request, "log_level": log_level})
        for tensor in ids:
            del self.tensors[tensor]
        if name == "selected":
            fields = [np.frombuffer(fields[key], dtype).tolist() for key, dtype in (("ids", "<u8"), ("scores", "<f4"))]
        return name, fields

    def size(self, budget=2, labelled=(0, 4), round=1, least=1, most=9):
        """The answer to `select` of a sizer: its report, or the fault."""
        ids = [self.keep(np.array(ids, dtype="<u8")) for ids in ((1, 2, 3, 5, 8), labelled)]
        request = {"round": round, "budget": budget, "seed": SEED, "unlabelled": ids[0], "labelled": ids[1]}
        extra = msgpack.packb({"least": least, "most": most})
        name, fields = self.ask("select", {**request, "log_level": 3, "extra": extra})
        for tensor in ids:
            del self.tensors[tensor]
        return name, msgpack.unpackb(fields["report"]) if name == "selected" else fields

    def end(self):
        """Close the socket; exit code and output of the worker."""
        self.socket.close()
        output = self.process.communicate(timeout=120)[1].decode()
        return self.process.returncode, output

    def keep(self, array):
        """Keep a tensor; its number."""
        number = (len(self.tensors) + 1) << 32 | len(self.released)
        assert number not in self.tensors
        self.tensors[number] = array
        return number

    def _reply(self, number, kind, ask):
        misled = self.before_reply(ask)
        answer, fd = misled if misled else self._served(kind, ask)
        self.send("reply", {"id": number, "answer": answer}, fd)
        if fd is not None:
            os.close(fd)

    def _served(self, kind, ask):
        if kind == "supports":
            return {"supported": {"yes": ask["op"] in self.serve}}, None
        if kind == "tensor-put":
            array = np.frombuffer(ask["bytes"], DTYPES[ask["dtype"]]).reshape(ask["shape"])
            return {"kept": {"tensor": self.keep(array)}}, None
        if kind == "tensor-read":
            return self._tensor(self.tensors[ask["tensor"]])
        assert kind == "invoke", kind
        return self._invoked(ask), None

    def _invoked(self, ask):
        if ask["op"] not in self.serve:
            detail = msgpack.packb({"hint": "ask later"})
            return {"fault": {"code": 2, "message": "not offered", "detail": detail}}
        inputs = [self.tensors[number] for number in ask["inputs"]]
        answer, outputs = self.serve[ask["op"]](msgpack.unpackb(ask["args"]), *inputs)
        return {"invoked": {"answer": msgpack.packb(answer), "outputs": [self.keep(array) for array in outputs]}}

    @staticmethod
    def _tensor(array):
        fd = os.memfd_create("tensor")
        with open(fd, "wb", closefd=False) as file:
            file.write(array.tobytes())
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        os.close(fd)
        return {"tensor": {"dtype": DTYPES.index(array.dtype), "shape": list(array.shape)}}, reader


def detail(fields):
    """The details of a fault."""
    return msgpack.unpackb(fields["detail"]) if fields["detail"] else {}

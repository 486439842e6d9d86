# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands between a worker and its broker or store, sees each step, and can do harm at any of them.

A gate takes connections on loopback and passes on what is said. A `Trap` names a step; when it comes
by, its harm is done before or after the step is passed on. ``cut`` ends all connections and takes
none for a while, as a broken network does.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from testyard.store import CLAIMS

_AMQP_METHOD = 1
_NAMES = {(60, 40): "publish", (60, 60): "deliver", (60, 80): "ack"}


@dataclass
class Trap:
    """Harm at a step: the first one of whose name ``step`` is the beginning."""

    step: str
    harm: Callable[[], None]
    after: bool
    met: bool = False
    sprung: threading.Event = field(default_factory=threading.Event)

    def meets(self, step: str, *, after: bool) -> bool:
        """True once; ``sprung`` is set when the harm is done."""
        if self.met or self.after != after or not step.startswith(self.step):
            return False
        self.met = True
        return True


class Gate:
    """Listens on loopback at ``port`` for a server at ``target``; ``steps`` are all that it saw."""

    def __init__(self, target: int) -> None:
        self.trap: Trap | None = None
        self.steps: list[str] = []
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def cut(self, seconds: float) -> None:
        """End all connections; end each new one for so long."""
        self._closed_until = time.monotonic() + seconds
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """For good."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut(1e6)

    def serve(self) -> None:
        """Until `close`."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if time.monotonic() < self._closed_until:
                client.close()
                continue
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    @contextmanager
    def passing(self, step: str) -> Iterator[None]:
        """The step is passed on inside, with the trap's harm before or after that."""
        self.steps.append(step)
        self._meet(step, after=False)
        yield
        self._meet(step, after=True)

    def _meet(self, step: str, *, after: bool) -> None:
        trap = self.trap
        with self._lock:
            met = trap is not None and trap.meets(step, after=after)
        if trap is not None and met:
            trap.harm()
            trap.sprung.set()

    def _one(self, client: socket.socket) -> None:
        try:
            with ExitStack() as stack:
                stack.enter_context(self._kept(stack.enter_context(client)))
                server = stack.enter_context(socket.create_connection(("127.0.0.1", self._target)))
                stack.enter_context(self._kept(server))
                self.talk(client, server)
        except (OSError, EOFError, http.client.HTTPException):
            pass  # either side has gone, perhaps by our own harm: the other sees its connection end

    @contextmanager
    def _kept(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def talk(self, client: socket.socket, server: socket.socket) -> None:
        """One connection's life. Raises OSError, EOFError when it ends."""
        raise NotImplementedError


class BrokerGate(Gate):
    """Steps: ``deliver <queue>``, ``publish <exchange> <key>``, ``ack``."""

    def talk(self, client: socket.socket, server: socket.socket) -> None:
        """See `Gate`: frames of AMQP 0-9-1 (its specification, 4.2.3)."""
        server.sendall(_exactly(client, 8))
        back = threading.Thread(target=self._frames, args=(server, client), daemon=True)
        back.start()
        self._frames(client, server)
        back.join()

    def _frames(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = _exactly(source, 7)
                body = _exactly(source, struct.unpack(">I", head[3:])[0] + 1)
                step = _method(body) if head[0] == _AMQP_METHOD else ""
                with self.passing(step) if step else nullcontext():
                    sink.sendall(head + body)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _method(body: bytes) -> str:
    name = _NAMES.get(struct.unpack(">HH", body[:4]))
    if name == "publish":
        exchange, rest = _short(body[6:])
        return f"publish {exchange} {_short(rest)[0]}"
    if name == "deliver":
        _, rest = _short(body[4:])
        _, rest = _short(rest[9:])
        return f"deliver {_short(rest)[0]}"
    return name or ""


def _short(data: bytes) -> tuple[str, bytes]:
    end = 1 + data[0]
    return data[1:end].decode(), data[end:]


class StoreGate(Gate):
    """Steps: ``PUT claim running|storing|done|…``, ``GET claim``, ``PUT log.gz`` and other files' names."""

    def talk(self, client: socket.socket, server: socket.socket) -> None:
        """See `Gate`: HTTP/1.1, one request after the other."""
        reader = client.makefile("rb")
        while True:
            line, head, body = _request(reader)
            with self.passing(_step(line, body)):
                server.sendall(f"{line}\r\n".encode() + head + body)
                answer = _response(server, line.split(" ", 1)[0])
            client.sendall(answer)


def _step(line: str, body: bytes) -> str:
    method, path, _ = line.split(" ")
    if f"/{CLAIMS}/debci-" in path:
        with suppress(ValueError, KeyError):
            return f"{method} claim {json.loads(body)['state']}"
        return f"{method} claim"
    return f"{method} {path.partition('?')[0].rpartition('/')[2]}"


def _request(reader: BinaryIO) -> tuple[str, bytes, bytes]:
    lines = iter(lambda: reader.readline(65536), b"\r\n")
    head = []
    for line in lines:
        if not line:
            raise EOFError
        head.append(line)
    fields = {name.strip().lower(): value.strip() for name, _, value in (f.partition(b":") for f in head[1:])}
    if fields.get(b"transfer-encoding") == b"chunked":
        body = b"".join(_chunks(reader))
    else:
        body = reader.read(int(fields.get(b"content-length", b"0")))
    return head[0].decode().rstrip(), b"".join(head[1:]) + b"\r\n", body


def _chunks(reader: BinaryIO) -> Iterator[bytes]:
    """The chunks as they came, their sizes included."""
    while True:
        size = reader.readline(100)
        yield size
        yield reader.read(int(size, 16) + 2)
        if int(size, 16) == 0:
            return


def _response(server: socket.socket, method: str) -> bytes:
    """The server's answer, with a length in place of chunks."""
    response = http.client.HTTPResponse(server, method=method)
    response.begin()
    content = response.read()
    headers = [(name, value) for name, value in response.getheaders() if name.lower() != "transfer-encoding"]
    if method != "HEAD" and response.getheader("Content-Length") is None and response.status != 204:
        headers.append(("Content-Length", str(len(content))))
    lines = [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join([f"HTTP/1.1 {response.status} {response.reason}", *lines, "", ""])
    return text.encode("latin-1") + content


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@contextmanager
def opened(gate: Gate) -> Iterator[None]:
    """The gate serves inside."""
    thread = threading.Thread(target=gate.serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        gate.close()
        thread.join(5)

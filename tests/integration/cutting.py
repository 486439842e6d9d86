# SPDX-License-Identifier: AGPL-3.0-or-later
"""A proxy that cuts the first connection which carries much, as a bad network does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CuttingProxy:
    """``cut`` counts the connections that were cut: never more than one."""

    def __init__(self, target: int, after: int, *, answers: bool) -> None:
        self.cut = 0
        self._target, self._after, self._answers = target, after, answers
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Until `close`."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, counted in (
                (client, server, not self._answers),
                (server, client, self._answers),
            ):
                threading.Thread(target=self._copy, args=(source, sink, counted), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _copy(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        carried = 0
        with suppress(OSError):
            while data := source.recv(65536):
                carried += len(data)
                if counted and carried > self._after and self._first_cut():
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()  # while it is open the kernel takes what is sent until the buffer is full: 60 s lost

    def _first_cut(self) -> bool:
        with self._lock:
            self.cut += 1
            if self.cut > 1:
                self.cut = 1
                return False
            return True


@contextmanager
def cutting(target: int, *, after: int, answers: bool = False) -> Iterator[CuttingProxy]:
    """Cut once ``after`` bytes of a connection's requests, or of its answers, were seen."""
    proxy = CuttingProxy(target, after, answers=answers)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)

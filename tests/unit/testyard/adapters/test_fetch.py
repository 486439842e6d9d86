# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small files from servers that do as they like."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testyard.adapters.fetch import fetch
from testyard.errors import TestbedError

DRIP = b"x" * 10_000


@contextmanager
def serving(at_once: bytes, dripping: bytes = b"") -> Iterator[str]:
    """The address of a server that answers one question, the second part a byte each 0.05 s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                try:
                    connection.sendall(at_once)
                    for byte in dripping:
                        connection.sendall(bytes([byte]))
                        if over.wait(0.05):
                            return
                except OSError:
                    return  # the reader has gone

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/key"
        finally:
            over.set()
            thread.join(5)


@pytest.mark.parametrize(
    "at_once",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
    ],
    ids=["before the status", "in a header", "in the body", "in a chunk"],
)
def test_a_server_that_drips_has_the_time_of_one_answer(at_once: bytes) -> None:
    status = b"" if at_once else b"HTTP/1.1 200 " + DRIP
    started = time.monotonic()
    with (
        serving(at_once, status or DRIP) as url,
        pytest.raises(TestbedError, match=r"took longer than 0\.5 s"),
    ):
        fetch(url, seconds=0.5)
    assert time.monotonic() - started < 3


def test_answers() -> None:
    with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nkey") as url:
        assert fetch(url) == b"key"
    with serving(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        assert fetch(url) is None
    for status in (b"302 Found\r\nLocation: /x", b"500 Oh"):
        with (
            serving(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as url,
            pytest.raises(TestbedError, match=f"status {status[:3].decode()}"),
        ):
            fetch(url)
    with (
        serving(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" + b"x" * 30) as url,
        pytest.raises(TestbedError, match="more than 20 bytes"),
    ):
        fetch(url, most_bytes=20)
    with pytest.raises(TestbedError, match=r"127\.0\.0\.1:9"):
        fetch("http://127.0.0.1:9/key")
    with pytest.raises(TestbedError):
        fetch("nonsense://x")

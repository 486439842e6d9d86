# SPDX-License-Identifier: AGPL-3.0-or-later
"""A store that is not there. tests/integration has the real one."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from testyard.adapters.swift import SwiftStore
from testyard.errors import StoreError
from testyard.settings import Store

ACTIONS: list[Callable[[SwiftStore], object]] = [
    lambda store: store.ensure_container("c", read_acl=".r:*"),
    lambda store: store.put("c", "n", b"x"),
    lambda store: store.put("c", "n", Path("/proc/self/cmdline")),
    lambda store: store.put("c", "n", Path("/no/such/file")),
    lambda store: store.create_container("c"),
    lambda store: store.read_acl("c"),
    lambda store: store.set_read_acl("c", ""),
    lambda store: store.get("c", "n"),
    lambda store: store.names("c"),
    lambda store: store.containers(),
    lambda store: store.delete("c", "n"),
]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "", "nonsense", "http://[::1"])
@pytest.mark.parametrize("version", ["1", "3"])
def test_nobody_there(version: str, address: str, action: Callable[[SwiftStore], object]) -> None:
    settings = Store.model_validate(
        {
            "auth_version": version,
            "auth_url": address,
            "user": "a:b",
            "key": SecretStr("s3cret"),
            "project": "p",
            "region": "r",
            "retries": 0,
        }
    )
    with SwiftStore(settings) as store, pytest.raises(StoreError, match=r"^store: cannot ") as caught:
        action(store)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


class Forgetful(dict[str, str]):
    """As if another thread removed a name whenever it has been seen."""

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        self.pop(str(name), None)
        return found


def test_a_container_that_two_threads_find_gone() -> None:
    containers: set[str] = set()
    stored = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            container, _, name = self.path.removeprefix("/v1/a/").partition("/")
            if not name:
                containers.add(container)
            elif container not in containers:
                return self._answer(404)
            else:
                stored.append((self.path, body))
            return self._answer(201)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            host = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            self.send_header("X-Storage-Url", f"{host}/v1/a")
            self.send_header("X-Auth-Token", "t")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/auth/v1.0"
        settings = Store.model_validate(
            {"auth_version": "1", "auth_url": address, "user": "a:b", "key": SecretStr("k"), "retries": 0}
        )
        try:
            with SwiftStore(settings) as store:
                store._known = Forgetful(c=".r:*")
                store.put("c", "n", b"x")
        finally:
            server.shutdown()
    assert (containers, stored) == ({"c"}, [("/v1/a/c/n", b"x")])

# SPDX-License-Identifier: AGPL-3.0-or-later
"""One address: each request reaches the part that answers it, and who asks cannot be made up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from testyard.local.front import render_front
from testyard.local.health import check_part
from testyard.local.state import LocalState
from testyard.routes import HEALTH


class Echo(BaseHTTPRequestHandler):
    """Answers with who it is and whom it believes to answer."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"part": self.server.part, "for": self.headers.get_all("X-Forwarded-For")}).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = answer  # noqa: N815  names of the standard library
    do_POST = answer  # noqa: N815
    do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def echo(part: str, port: int) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), Echo)
    server.part = part  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalState]:
    """A front whose every part is an echo."""
    state = LocalState.load_or_create(tmp_path_factory.mktemp("front") / "state")
    command = [sys.executable, "-P", "-m", "testyard.local.front", str(state.path)]
    with ExitStack() as stack:
        for part, port in (("web", "site"), ("request", "request"), ("webhook", "webhook")):
            if port in state.ports:
                stack.enter_context(echo(part, state.ports[port]))
        front = stack.enter_context(subprocess.Popen(command))
        stack.callback(front.terminate)
        give_up = time.monotonic() + 10
        while check_part(state, "front", started=0):
            assert front.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.05)
        yield state


@pytest.mark.parametrize(
    ("method", "path", "part"),
    [
        ("GET", "/", "web"),
        ("GET", "/packages/request", "web"),
        ("GET", "/requests/1", "web"),
        ("GET", "/api/v1/requests", "web"),
        ("POST", "/api/v1/requests", "request"),
        ("DELETE", "/api/v1/requests/1", "request"),
        ("GET", "/api/v1/retry/20260101_000000_00000@", "request"),
        ("GET", "/request.cgi", "request"),
        ("GET", "/request", "request"),
        ("GET", "/login/github", "request"),
        ("POST", "/hooks/github", "webhook"),
    ],
)
def test_who_answers(state: LocalState, method: str, path: str, part: str) -> None:
    if part not in state.ports and part != "web":
        part = "web"  # a part that an instance does not have
    answer = httpx.request(method, state.url("web") + path, trust_env=False)
    assert answer.json()["part"] == part


def test_who_asks_is_what_the_socket_says(state: LocalState) -> None:
    answer = httpx.get(state.url("web"), headers={"X-Forwarded-For": "192.0.2.1"}, trust_env=False)
    assert answer.json()["for"] == ["127.0.0.1"]


def test_its_own_health(state: LocalState) -> None:
    assert httpx.get(state.url("web") + HEALTH, trust_env=False).text == "ok"


def test_no_part_is_forgotten(tmp_path: Path) -> None:
    state = LocalState.load_or_create(tmp_path / "state")
    config = render_front(replace(state, ports={**state.ports, "request": 1, "webhook": 2}))
    assert all(f"backend {part}\n" in config for part in ("web", "request", "webhook"))

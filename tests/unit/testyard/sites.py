# SPDX-License-Identifier: AGPL-3.0-or-later
"""A web site with the answers that a test gives it, on a real port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Site:
    """``answers`` maps a path to (status, body), ``otherwise`` is for other paths; a body that is no
    bytes is sent as JSON. A path in ``later`` is not there the first so many times."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, tuple[int, Any]] = {}
        self.otherwise: tuple[int, Any] = (404, {"title": "Not found", "detail": "No such page."})
        self.asked: list[str] = []
        self.later: dict[str, int] = {}


@contextmanager
def serving() -> Iterator[Site]:
    """A site for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            status, body = site.answers.get(self.path, site.otherwise)
            if site.asked.count(self.path) <= site.later.get(self.path, 0):
                status, body = site.otherwise
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

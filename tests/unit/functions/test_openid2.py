# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an OpenID identity's address may make the login function fetch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from openid.fetchers import HTTPFetchingError

from functions.request.openid2 import Fetcher

LEAST_TOO_MUCH = 1024 * 1024 + 1


@dataclass
class Site:
    url: str = ""
    elsewhere: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(f"{self.headers['Host']}{self.path}")
            leads = {"/away": f"{made.elsewhere}/secret", "/near": "/page", "/round": "/round"}.get(self.path)
            body = b"x" * (LEAST_TOO_MUCH if self.path == "/large" else 4)
            self.send_response(302 if leads else 200)
            if leads:
                self.send_header("Location", leads)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    made.elsewhere = f"http://localhost:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


def test_an_identitys_page(site: Site) -> None:
    found = Fetcher().fetch(f"{site.url}/near")
    assert (found.status, found.final_url, found.body) == (200, f"{site.url}/page", b"xxxx")
    assert found.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    ("path", "words"), [("/away", "elsewhere"), ("/round", "round"), ("/large", "too long")]
)
def test_what_is_no_page_of_the_providers(site: Site, path: str, words: str) -> None:
    with pytest.raises(HTTPFetchingError, match=words):
        Fetcher().fetch(f"{site.url}{path}")
    assert not any("secret" in each for each in site.asked)

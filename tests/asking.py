# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client of an ASGI app in this process, for tests that wait for each answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.applications import Starlette


class Asker:
    """Keeps cookies as a browser does; what the app raises becomes its answer 500."""

    def __init__(self, app: Starlette, *, url: str = "http://t", peer: str = "127.0.0.1") -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 1))
        self._client = httpx.AsyncClient(transport=transport, base_url=url)
        self._runner = asyncio.Runner()

    def delete(self, path: str, **more: Any) -> httpx.Response:
        """DELETE."""
        return self._runner.run(self._client.delete(path, **more))

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET, without following a redirect."""
        return self._runner.run(self._client.get(path, **more))

    def post(self, path: str, **more: Any) -> httpx.Response:
        """POST, without following a redirect."""
        return self._runner.run(self._client.post(path, **more))

    @property
    def cookies(self) -> httpx.Cookies:
        """What was set and not taken back."""
        return self._client.cookies

    def close(self) -> None:
        """End its loop."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

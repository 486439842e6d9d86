# SPDX-License-Identifier: AGPL-3.0-or-later
"""The site's JSON and the public store, for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from testyard.errors import TestyardError, words_of

#: Seconds without a sign of life, after which site or store count as silent.
TIMEOUT = 15


class NotThereError(TestyardError):
    """The site has no such page (status 404)."""


class SiteClient:
    """Reads the JSON twins of the site's pages. ``url`` is the site's address."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        if not url:
            raise TestyardError(
                "site.url: not set",
                resolution="Start a local instance (testyard local up), or set TESTYARD_SITE__URL.",
            )
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._client = httpx.Client(timeout=timeout, follow_redirects=True, trust_env=False)

    def __enter__(self) -> SiteClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def json(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """The object at a path. Raises TestyardError with the site's own words, NotThereError for a 404."""
        try:
            answer = self._client.get(f"{self.url}{path}", params=parameters)
            value = answer.json()
        except httpx.InvalidURL as error:
            raise TestyardError(f"site.url: {self.url!r} is no address: {error}") from error
        except httpx.HTTPError as error:
            raise TestyardError(
                f"The site at {self.url} does not answer: {self._words(error)}",
                resolution="Is it running? testyard local status",
            ) from error
        except ValueError as error:
            raise TestyardError(f"{self.url}{path}: not JSON (status {answer.status_code})") from error
        if answer.status_code >= 400 or not isinstance(value, dict):
            words = value.get("detail") or value.get("title") if isinstance(value, dict) else None
            text = str(words or f"{self.url}{path}: status {answer.status_code}")
            raise NotThereError(text) if answer.status_code == 404 else TestyardError(text)
        return value

    def content(self, url: str) -> bytes:
        """What is at an address. Raises TestyardError."""
        try:
            answer = self._client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TestyardError(
                f"The store does not answer: {self._words(error)}", details=f"Asked for {url}"
            ) from error
        if answer.status_code != 200:
            raise TestyardError(f"{url}: status {answer.status_code}")
        return answer.content

    def stream(self, url: str) -> Iterator[str]:
        """The text at an address, decoded, piece by piece. Raises TestyardError."""
        try:
            with self._client.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise TestyardError(f"{url}: status {answer.status_code}")
                yield from answer.iter_text()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TestyardError(
                f"The store does not answer: {self._words(error)}",
                details=f"Asked for {url}",
                resolution="Is it running? testyard local status; testyard doctor. "
                "testyard local restart store starts it anew.",
            ) from error

    def _words(self, error: Exception) -> str:
        if isinstance(error, httpx.TimeoutException):
            return f"nothing came for {self._timeout:g} s"
        return words_of(error)

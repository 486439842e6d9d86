# SPDX-License-Identifier: AGPL-3.0-or-later
"""What name servers said a moment ago, so that the same host is not asked for with each of many requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Sequence

_Found = tuple[str, ...] | OSError


class RememberedNames:
    """Resolves as ``resolve`` does, and remembers for ``seconds``, failures too; for any number of threads.

    For checks only: what connects must ask anew and connect to what it was told.
    """

    def __init__(
        self,
        resolve: Callable[[str, int], Awaitable[Sequence[str]]],
        *,
        seconds: float = 60.0,
        most: int = 1000,
    ) -> None:
        self._resolve, self._seconds, self._most = resolve, seconds, most
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int], tuple[float, _Found]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses. Raises OSError."""
        with self._lock:
            until, found = self._known.get((host, port), (0.0, ()))
        if until < time.monotonic():
            found = await self._asked(host, port)
            with self._lock:
                if len(self._known) >= self._most:
                    self._known.clear()
                self._known[host, port] = (time.monotonic() + self._seconds, found)
        if isinstance(found, OSError):
            raise found
        return found

    async def _asked(self, host: str, port: int) -> _Found:
        try:
            return tuple(await self._resolve(host, port))
        except OSError as error:
            return error

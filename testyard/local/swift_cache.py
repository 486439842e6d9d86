# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Swift asks of memcached, kept in this process: right as long as there is one proxy."""

from __future__ import annotations

import pickle
import time as clock
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class LocalCache:
    """A memcache client's methods over a dictionary of at most ``limit`` entries.

    Values are pickled: callers change what they get, and a copy is what memcached gives. The
    bytes never leave this process.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._limit = limit

    def set(self, key: str, value: object, *_args: object, time: float = 0, **_options: object) -> None:
        """Keep ``value`` for ``time`` seconds; 0 is for ever."""
        if len(self._entries) >= self._limit and key not in self._entries:
            self._make_room()
        self._entries[key] = (pickle.dumps(value), clock.monotonic() + time if time else 0.0)

    def get(self, key: str, *_args: object, **_options: object) -> Any:
        """The value, None when there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        data, end = entry
        if end and end <= clock.monotonic():
            del self._entries[key]
            return None
        return pickle.loads(data)  # noqa: S301  written by `set`, in this process

    def delete(self, key: str, *_args: object, **_options: object) -> None:
        """Forget ``key``."""
        self._entries.pop(key, None)

    def incr(self, key: str, delta: int = 1, time: float = 0, **_options: object) -> int:
        """Add ``delta`` and return the sum, which never falls below 0."""
        total = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, total, time=time)
        return total

    def decr(self, key: str, delta: int = 1, time: float = 0, **_options: object) -> int:
        """Subtract ``delta``."""
        return self.incr(key, -int(delta), time=time)

    def set_multi(
        self, mapping: Mapping[str, object], *_args: object, time: float = 0, **_options: object
    ) -> None:
        """`set` for each pair."""
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys: Iterable[str], *_args: object, **_options: object) -> list[Any]:
        """`get` for each key."""
        return [self.get(key) for key in keys]

    def _make_room(self) -> None:
        now = clock.monotonic()
        over = [key for key, (_, end) in self._entries.items() if end and end <= now]
        # none over: the oldest tenth goes
        for key in over or list(self._entries)[: max(1, self._limit // 10)]:
            del self._entries[key]


_CACHE = LocalCache()


def filter_factory(
    _global_conf: Mapping[str, str], **_local_conf: str
) -> Callable[[Application], Application]:
    """Paste's entry point: put the process's one cache into each request."""

    def wrap(application: Application) -> Application:
        def with_cache(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ["swift.cache"] = _CACHE
            return application(environ, start_response)

        return with_cache

    return wrap

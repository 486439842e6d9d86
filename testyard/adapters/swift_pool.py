# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections to Swift that are kept for the next request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import swiftclient

from testyard.adapters.swift_login import Login

#: Seconds after which an unused connection is closed: Swift closes it after 60, and a request that is
#: sent at that moment waits 1 s for its second attempt.
_IDLE = 20.0


class Pool:
    """As many connections as are in use at a time; for use by any thread."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._idle: list[
            tuple[float, swiftclient.Connection]
        ] = []  # with the time of its last use, oldest first

    @contextmanager
    def connection(self) -> Iterator[swiftclient.Connection]:
        """One that nobody else has; closed after an error, kept otherwise."""
        connection = self._take()
        try:
            yield connection
        except BaseException:
            connection.close()  # there may be something of the answer left on it
            raise
        finally:
            self._keep(connection)

    def close(self) -> None:
        """Close those that are not in use; a new request opens a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take(self) -> swiftclient.Connection:
        with self._lock:
            since, connection = self._idle.pop() if self._idle else (0.0, None)
        if connection is None:
            return self._login.connection()
        if time.monotonic() - since > _IDLE:
            connection.close()
        return connection

    def _keep(self, connection: swiftclient.Connection) -> None:
        now = time.monotonic()
        with self._lock:
            self._idle.append((now, connection))
            old = [other for since, other in self._idle if now - since > _IDLE]
            self._idle = [(since, other) for since, other in self._idle if now - since <= _IDLE]
        for other in old:
            other.close()

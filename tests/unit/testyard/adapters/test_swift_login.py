# SPDX-License-Identifier: AGPL-3.0-or-later
"""One login for all connections."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from testyard.adapters.swift_login import Login
from testyard.settings import Store


def login() -> Login:
    return Login(Store(auth_version="1", auth_url="http://127.0.0.1:9/auth", user="a:b"), timeout=1)


class Server:
    """Gives a new token at each login."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.logins = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self) -> tuple[str, str]:
        time.sleep(self._seconds)
        with self._lock:
            self.logins += 1
            return "http://store", f"token {self.logins}"


def test_who_comes_at_the_same_moment_waits_for_one_login() -> None:
    shared, server = login(), Server(0.1)
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: shared.share(None, server), range(16)))
    assert (found, server.logins) == ({("http://store", "token 1")}, 1)


def test_a_refused_token_is_exchanged_once_for_all_who_had_it() -> None:
    shared, server = login(), Server()
    old = shared.share(None, server)
    assert [shared.share(old, server)[1] for _ in range(3)] == ["token 2"] * 3
    assert shared.share(None, server)[1] == "token 2"


def test_a_silent_server_keeps_nobody_waiting_behind_another() -> None:
    shared = login()
    with ThreadPoolExecutor(3) as pool:
        started = time.monotonic()
        list(pool.map(lambda _: shared.share(None, Server(1.5)), range(3)))
    assert time.monotonic() - started < 3.5  # one after the other: 4.5

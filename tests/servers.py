# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real servers for tests, each ended by its own pid:

    with rabbit_node(tmp_path / "r") as rabbit:   # .url  .pid  .kill() .start() .stop()
    with swift_server(tmp_path / "s") as swift:   # also .auth_url .user .key .public_url

``kill`` is SIGKILL, ``stop`` SIGTERM; both wait for the end. ``start`` returns when the server answers
and keeps data, ports and passwords.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from testyard.local.health import check_part
from testyard.local.parts import all_parts
from testyard.local.state import STORE_USER, LocalState
from testyard.local.swift_secrets import save_secrets

START_SECONDS = 60.0


class Server:
    """One part of a local instance, without the others."""

    def __init__(self, state: LocalState, part: str) -> None:
        self.state = state
        self.part = part
        self.log = state.log_dir / f"{part}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        assert self._process is not None, f"{self.part} does not run"
        return self._process.pid

    def launch(self) -> None:
        """Start it and do not wait."""
        assert self._process is None, f"{self.part} runs already"
        argv = next(part.argv for part in all_parts(self.state) if part.name == self.part)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_healthy()

    def wait_healthy(self) -> None:
        """Wait until it answers; fail with its log when it has ended or takes too long."""
        assert self._process is not None
        give_up = time.monotonic() + START_SECONDS
        while reason := check_part(self.state, self.part, started=0):
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"{self.part}: {reason}\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, at any moment; nothing when it does not run."""
        self._end(lambda process: process.kill())

    def stop(self) -> None:
        """SIGTERM; nothing when it does not run."""
        self._end(lambda process: process.terminate())

    def _end(self, ask: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        ask(process)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Rabbit(Server):
    """RabbitMQ."""

    @property
    def url(self) -> str:
        """AMQP URL with the password."""
        return self.state.broker_url


class Swift(Server):
    """OpenStack Swift."""

    @property
    def url(self) -> str:
        """The proxy's address."""
        return self.state.url("store")

    @property
    def auth_url(self) -> str:
        """Where v1 authentication answers."""
        return f"{self.url}/auth/v1.0"

    @property
    def user(self) -> str:
        """``account:user``."""
        return STORE_USER

    @property
    def key(self) -> str:
        """The user's password."""
        return self.state.secrets["store_key"]

    @property
    def public_url(self) -> str:
        """The account's address."""
        return f"{self.url}/v1/AUTH_testyard"


AnyServer = TypeVar("AnyServer", bound=Server)


@contextmanager
def rabbit_node(path: Path) -> Iterator[Rabbit]:
    """A RabbitMQ node of its own in ``path`` (4 to 7 s to start: share it within a module)."""
    server = Rabbit(_state(path), "broker")
    yield from _running(server)


@contextmanager
def swift_server(path: Path) -> Iterator[Swift]:
    """A Swift of its own in ``path`` (0.5 s to start)."""
    state = _state(path)
    save_secrets(state.path / "swift", user=STORE_USER, key=state.secrets["store_key"])
    server = Swift(state, "store")
    yield from _running(server)


def _running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _state(path: Path) -> LocalState:
    state = LocalState.load_or_create(path)
    state.write_settings()
    return state

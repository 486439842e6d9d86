# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real servers for tests, each ended by its own pid:

    with rabbit_node(tmp_path / "r") as rabbit:   # .url .tls_url  .pid  .kill() .start() .stop()
    with swift_server(tmp_path / "s") as swift:   # also .auth_url .user .key .public_url

``kill`` is SIGKILL, ``stop`` SIGTERM; both wait for the end. ``start`` returns when the server answers
and keeps data, ports and passwords. Within ``frozen()`` a server stands still.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.certificates import Authority
from testyard.local.files import make_private_folder, write_private
from testyard.local.health import check_part
from testyard.local.parts import all_parts
from testyard.local.ports import LOOPBACK, free_ports
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

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its work, as a paused machine does; connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

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


_TLS_LISTENER = """\
[{{rabbit, [
  {{ssl_listeners, [{{"{address}", {port}}}]}},
  {{ssl_options, [{{cacertfile, "{authority}"}}, {{certfile, "{certificate}"}}, {{keyfile, "{key}"}}]}}
]}}].
"""


class Rabbit(Server):
    """RabbitMQ, with a second listener for TLS; its certificate is for 127.0.0.1 only."""

    def __init__(self, state: LocalState) -> None:
        super().__init__(state, "broker")
        self.authority = Authority(state.path / "certificates")
        self.tls_port = free_ports(1, avoid=state.ports.values())[0]
        pair = self.authority.issue(LOOPBACK)
        make_private_folder(state.path / "rabbitmq")
        write_private(
            state.path
            / "rabbitmq"
            / "advanced.config",  # RabbitMQ lays it over what the node's own file says
            _TLS_LISTENER.format(
                address=LOOPBACK,
                port=self.tls_port,
                authority=self.authority.file,
                certificate=pair.certificate,
                key=pair.key,
            ),
        )

    @property
    def url(self) -> str:
        """AMQP URL with the password."""
        return self.state.broker_url

    def tls_url(self, authority: Path, host: str = LOOPBACK) -> str:
        """AMQPS URL of one who trusts that authority."""
        plain = f"{LOOPBACK}:{self.state.ports['broker']}"
        url = self.url.replace("amqp://", "amqps://").replace(plain, f"{host}:{self.tls_port}")
        return f"{url}?cacertfile={authority}"


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
    server = Rabbit(_state(path))
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

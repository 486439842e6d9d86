# SPDX-License-Identifier: AGPL-3.0-or-later
"""The function is killed at every step, and half of the events are lost: each commit has its last state.

The process is the function as it is served, with a real RabbitMQ and Swift; only the pauses are cut short.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest
from sqlalchemy import Engine, delete, update

from tests.forges import ForgeServer, forge_server
from tests.integration.functions.results import CONTAINER, path_of, put
from tests.integration.functions.test_claims import QUEUE
from tests.servers import Rabbit, Swift
from testyard.adapters.amqp import SHOWN_QUEUE, Publisher, connection_parameters, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.event import EVENTS_EXCHANGE, Event, EventKind
from testyard.index import open_index
from testyard.intake import create_intake, statuses
from testyard.intake.schema import fact, status
from testyard.local.toml import render_toml
from testyard.request import TestRequest
from worker.claim import ClaimBook, ClaimState, identify

COMMIT = "c0ffee" * 6 + "c0ff"
IDS = [f"{number:08}-2222-4333-8444-555555555555" for number in range(8)]


class Function:
    """One copy of the function after the other, each killed."""

    def __init__(self, rabbit: Rabbit, swift: Swift, forge: ForgeServer, folder: Path) -> None:
        projects = folder / "projects.toml"
        key = folder / "key.pem"
        key.write_text(forge.private_key)
        projects.write_text(
            f"""[projects."github/jane/tool"]\nsecret = "0123456789"\nurl = "{forge.url}"
app_id = 4711\nprivate_key_file = "{key}"\n"""
        )
        self._config = folder / "settings.toml"
        self.database = f"sqlite:///{folder}/memory.db"
        store = {"auth_version": "1", "auth_url": swift.auth_url, "user": swift.user, "key": swift.key}
        self._config.write_text(
            render_toml(
                {
                    "broker": {"url": rabbit.url},
                    "store": store,
                    "database": {"url": self.database},
                    "intake": {"projects": str(projects)},
                }
            )
        )
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "TESTYARD_CONFIG": str(self._config)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.functions.status_app"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


@pytest.fixture
def function(rabbit: Rabbit, swift: Swift, forge: ForgeServer, tmp_path: Path) -> Iterator[Function]:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        declare_topology(connection.channel(), ())
        connection.channel().queue_purge(SHOWN_QUEUE)
    made = Function(rabbit, swift, forge, tmp_path)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()


def until(done: Callable[[], bool], function: Function, seconds: float = 40) -> None:
    give_up = time.monotonic() + seconds
    while not done():
        assert function.process is None or function.process.poll() in (None, -signal.SIGKILL), (
            function.log.read_text()[-3000:]
        )
        assert time.monotonic() < give_up, function.log.read_text()[-3000:]
        time.sleep(0.01)


def cut_pauses_short(engine: Engine) -> None:
    now = time.time() - 1
    with engine.begin() as connection:
        connection.execute(update(status).where(status.c.next_attempt.is_not(None)).values(next_attempt=now))
        connection.execute(update(status).where(status.c.next_look.is_not(None)).values(next_look=now))
        connection.execute(delete(fact).where(fact.c.key.startswith("pause/")))  # the forge's own


def test_each_commit_has_its_last_state(
    function: Function, rabbit: Rabbit, store: SwiftStore, forge: ForgeServer
) -> None:
    engine = open_index(function.database, writer=True)
    create_intake(engine)
    with engine.begin() as connection:
        for number, request_id in enumerate(IDS):
            statuses.want(
                connection,
                request_id,
                forge="github",
                project="jane/tool",
                commit=COMMIT,
                context=f"c{number}",
                details={"queue": QUEUE, "package": "demo"},
            )

    # killed while the forge has taken the first call, and has not answered yet
    met: list[str] = []

    def kill_once(path: str) -> None:
        if path.endswith("/check-runs") and not met:
            met.append(path)
            function.kill()

    forge.before_answer = kill_once
    function.start()
    until(lambda: bool(met), function)
    # another thread of the function may have been before it with another one
    assert set(map(tuple, forge.check_states.values())) == {("queued",)}
    cut_pauses_short(engine)

    # killed while the forge hangs
    forge.hang, before = 0.5, forge.arrived
    function.start()
    until(lambda: forge.arrived > before, function)
    function.kill()
    time.sleep(0.6)  # it works on what it was sent all the same
    forge.hang = 0.0

    # the runs end; every other event is lost, and the function killed while it reads the others
    book = ClaimBook(store, "w1", 60)
    with Publisher(rabbit.url) as publisher:
        for number, request_id in enumerate(IDS):
            path = path_of(number)
            put(store, path)
            found = identify(book, TestRequest("demo", uuid=request_id), QUEUE, "0" * 64, redelivered=False)
            claim = book.take(found.key, request_id)
            book.renew(found.key, claim, state=ClaimState.DONE, container=CONTAINER, path=str(path))
            data = {"container": CONTAINER, "path": str(path), "exit_code": 0}
            for kind, more in ((EventKind.TAKEN, {}), (EventKind.STORED, data)):
                event = Event(kind, request_id, QUEUE, "demo", data=more)
                if number % 2:
                    publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
    for pause in (0.9, 1.2, 1.5):
        cut_pauses_short(engine)
        function.start()
        time.sleep(pause)
        function.kill()

    cut_pauses_short(engine)  # the dead ones' leases
    function.start()

    def all_told() -> bool:
        states = {run["name"]: run["status"] for run in list(forge.checks.values())}
        return list(states.values()) == ["completed"] * len(IDS)

    until(all_told, function, seconds=90)
    assert sorted(run["external_id"] for run in forge.checks.values()) == IDS, "one check run each"
    assert {states[-1] for states in forge.check_states.values()} == {"success"}
    function.kill()
    engine.dispose()

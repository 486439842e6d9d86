# SPDX-License-Identifier: AGPL-3.0-or-later
"""The index and status functions with a real RabbitMQ and a real Swift."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pika
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from starlette.applications import Starlette

import functions.index.app
import functions.status.app
from functions.index.indexer import Indexer
from functions.status.app import QueueWatch
from tests.servers import Rabbit, Swift, rabbit_node, swift_server
from testyard.adapters.amqp import (
    INDEX_QUEUE,
    STATUS_QUEUE,
    Publisher,
    connection_parameters,
    dead_letters,
    declare_topology,
)
from testyard.adapters.swift import SwiftStore
from testyard.errors import BrokerError, ResultError, StoreError, TestyardError
from testyard.event import COMPLETION_EXCHANGE, EVENTS_EXCHANGE, CompletionMessage, Event, EventKind
from testyard.index import RequestState, RunRow, open_index, read
from testyard.index.schema import metadata
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.result import Result, write_result_tar
from testyard.run import RunId
from testyard.settings import Broker, Settings, Store, Topology
from testyard.store import PUBLIC_READ, RESULT, RunPath

ID = "11112222-3333-4444-8555-666677778888"
CONTAINER = "autopkgtest-noble"
NOBLE = QueueName("ubuntu", "noble", "amd64")
RESULT_OF = Result(exit_code=0, source="demo", version="1", request_id=ID, summary="smoke  PASS\n")


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    with rabbit_node(tmp_path_factory.mktemp("rabbit") / "state") as found:
        yield found


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with swift_server(tmp_path_factory.mktemp("swift") / "state") as found:
        yield found


def store_settings(swift: Swift) -> Store:
    return Store(
        auth_version="1", auth_url=swift.auth_url, user=swift.user, key=SecretStr(swift.key), retries=0
    )


@pytest.fixture
def store(swift: Swift) -> Iterator[SwiftStore]:
    """A store without results."""
    with SwiftStore(store_settings(swift)) as found:
        for container in found.containers():
            for name in found.names(container):
                found.delete(container, name)
        found.ensure_container(CONTAINER, read_acl=PUBLIC_READ)
        yield found


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/index.db"


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    found = open_index(database, writer=True)
    yield found
    found.dispose()


def path_of(number: int, source: str = "demo") -> RunPath:
    return RunPath("noble", "amd64", source, RunId(f"20260105_1015{number:02}_0a1b2@"))


def put(
    store: SwiftStore, path: RunPath, *, container: str = CONTAINER, data: bytes | None = None
) -> CompletionMessage:
    """A stored result, and the message that tells of it."""
    store.ensure_container(container)
    store.put(container, path.file(RESULT), write_result_tar(RESULT_OF) if data is None else data)
    return CompletionMessage(
        release=path.release,
        architecture=path.architecture,
        package=path.source,
        container=container,
        swift_dir=str(path),
        exitcode=0,
        duration=1,
        testpkg_version="1",
    )


def runs(engine: Engine) -> list[RunRow]:
    with engine.connect() as connection:
        return list(read.latest_runs(connection))


# --- the indexer ------------------------------------------------------------------------------------


def test_a_completion_becomes_one_row(store: SwiftStore, engine: Engine) -> None:
    message = put(store, path_of(1))
    indexer = Indexer(store, engine)
    for _ in range(3):
        indexer.on_completion(message.to_bytes())
    assert indexer.sweep() == 0
    (row,) = runs(engine)
    assert (row.container, row.path, row.request_id, row.version) == (CONTAINER, path_of(1), ID, "1")


def test_the_stored_result_counts_and_not_the_message(store: SwiftStore, engine: Engine) -> None:
    message = replace(put(store, path_of(1)), exitcode=4, testpkg_version="9", requester="somebody")
    Indexer(store, engine).on_completion(message.to_bytes())
    (row,) = runs(engine)
    assert (row.exit_code, row.version, row.requester) == (0, "1", None)


def test_an_archives_run_is_entered_and_a_private_one_is_not(store: SwiftStore, engine: Engine) -> None:
    indexer = Indexer(store, engine)
    for container in (
        f"{CONTAINER}-some-user-first",
        f"private-{CONTAINER}",
        f"private-{CONTAINER}-some-user-x",
    ):
        indexer.on_completion(put(store, path_of(1), container=container).to_bytes())
    assert indexer.sweep() == 0
    assert [row.container for row in runs(engine)] == [f"{CONTAINER}-some-user-first"]


BAD_MESSAGES = [
    b"",
    b"\xff",
    b"[]",
    b"{}",
    json.dumps(
        {"release": "noble", "architecture": "amd64", "package": "demo", "container": CONTAINER}
    ).encode(),
]


@pytest.mark.parametrize("body", BAD_MESSAGES)
def test_a_malformed_message_is_a_result_error(store: SwiftStore, engine: Engine, body: bytes) -> None:
    with pytest.raises(ResultError):
        Indexer(store, engine).on_completion(body)
    assert runs(engine) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"swift_dir": "noble/amd64/d/demo"},
        {"swift_dir": "noble/amd64/d/demo/../../x"},
        {"swift_dir": str(path_of(2))},
        {"container": "autopkgtest-nosuch"},
        {"container": "testyard-claims"},
        {"container": f"{CONTAINER}/noble"},
        {"container": f"../{CONTAINER}"},
    ],
)
def test_a_message_of_no_stored_run_is_a_result_error(
    store: SwiftStore, engine: Engine, changes: dict[str, str]
) -> None:
    message = put(store, path_of(1))
    store.ensure_container("testyard-claims")
    store.put("testyard-claims", path_of(1).file(RESULT), write_result_tar(RESULT_OF))
    with pytest.raises(ResultError):
        Indexer(store, engine).on_completion(
            json.dumps({**json.loads(message.to_bytes()), **changes}).encode()
        )
    assert runs(engine) == []


def test_the_sweep_finds_what_events_missed(store: SwiftStore, engine: Engine) -> None:
    told = put(store, path_of(1))
    for number in (2, 3):
        put(store, path_of(number, "libdemo"))
    put(store, path_of(4), container=f"{CONTAINER}-some-user-first")
    put(store, path_of(5), container=f"private-{CONTAINER}")
    store.put(CONTAINER, path_of(6).file("log.gz"), b"a run that is not stored whole")
    indexer = Indexer(store, engine)
    indexer.on_completion(told.to_bytes())
    assert indexer.sweep() == 3
    assert indexer.sweep() == 0
    assert Indexer(store, engine).sweep() == 0
    assert sorted(row.run_id[13:15] for row in runs(engine)) == ["01", "02", "03", "04"]


def test_what_cannot_be_read_does_not_stop_the_sweep(
    store: SwiftStore, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        b"",
        b"no tar",
        write_result_tar(RESULT_OF)[:600],
        write_result_tar(replace(RESULT_OF, exit_code=10**30)),
    ]
    for number, data in enumerate(bad):
        put(store, path_of(number, "alpha"), data=data)
    store.put(CONTAINER, f"odd/{RESULT}", b"x")
    store.put(CONTAINER, f"noble/amd64/x/demo/20260105_101501@/{RESULT}", write_result_tar(RESULT_OF))
    store.put(CONTAINER, f"noble/amd64/d/demo/20269999_999999@/{RESULT}", write_result_tar(RESULT_OF))
    put(store, path_of(9, "zeta"))
    indexer = Indexer(store, engine)
    assert indexer.sweep() == 1
    assert [row.source for row in runs(engine)] == ["zeta"]
    told = [record.message for record in caplog.records if record.message.startswith("not entered: ")]
    assert len(told) == len(bad) + 3
    caplog.clear()
    assert indexer.sweep() == 0
    assert caplog.records == []  # each is told once


@pytest.mark.parametrize(
    "testinfo",
    [
        {"custom_environment": ["ADT_TEST_TRIGGERS=\ud800/1"]},
        {"nproc": float("inf"), "custom_environment": ["A=1"]},
        {"custom_environment": "x", "cpu_model": {"a": [1]}},
    ],
)
def test_odd_test_information_does_not_keep_a_run_out(
    store: SwiftStore, engine: Engine, testinfo: dict[str, object]
) -> None:
    put(store, path_of(1), data=write_result_tar(replace(RESULT_OF, testinfo=testinfo)))
    assert Indexer(store, engine).sweep() == 1
    assert len(runs(engine)) == 1


def test_a_store_that_is_away_is_tried_again(swift: Swift, store: SwiftStore, engine: Engine) -> None:
    message, indexer = put(store, path_of(1)), Indexer(store, engine)
    swift.kill()
    try:
        with pytest.raises(StoreError):
            indexer.on_completion(message.to_bytes())
        with pytest.raises(StoreError):
            indexer.sweep()
    finally:
        swift.start()
    assert indexer.sweep() == 1


def test_an_index_that_is_away_is_tried_again(store: SwiftStore, engine: Engine) -> None:
    message, indexer = put(store, path_of(1)), Indexer(store, engine)
    metadata.drop_all(engine)
    with pytest.raises(TestyardError, match=r"^index: ") as caught:
        indexer.on_completion(message.to_bytes())
    assert not isinstance(caught.value, ResultError)
    metadata.create_all(engine)
    indexer.on_completion(message.to_bytes())
    assert len(runs(engine)) == 1


# --- the status function's look at the queues -------------------------------------------------------


@pytest.fixture
def settings(rabbit: Rabbit) -> Settings:
    """Settings of a broker with empty queues."""
    found = Settings(
        broker=Broker(url=SecretStr(rabbit.url)),
        topology=Topology(releases=("noble",), architectures=("amd64",), contexts=("ubuntu", "ppa")),
    )
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        channel = connection.channel()
        declare_topology(channel, found.topology.queues())
        for name in (*map(str, found.topology.queues()), DEAD_LETTERS, INDEX_QUEUE, STATUS_QUEUE):
            channel.queue_purge(name)
    return found


def lengths(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {row.queue: row.messages for row in read.queue_lengths(connection)}


def test_queue_lengths_are_seen(rabbit: Rabbit, settings: Settings, engine: Engine) -> None:
    watch = QueueWatch(settings, engine)
    watch.look()
    assert lengths(engine) == {"debci-noble-amd64": 0, "debci-ppa-noble-amd64": 0, DEAD_LETTERS: 0}
    with Publisher(rabbit.url) as publisher:
        for _ in range(3):
            publisher.publish_request(NOBLE, b"demo")
        publisher.park(b"x", queue=str(NOBLE), reason="bad")
    watch.look()
    assert lengths(engine) == {"debci-noble-amd64": 3, "debci-ppa-noble-amd64": 0, DEAD_LETTERS: 1}
    watch.look()
    assert lengths(engine)["debci-noble-amd64"] == 3  # a look takes nothing


def test_the_watch_makes_queues_and_survives_the_broker(
    rabbit: Rabbit, settings: Settings, engine: Engine
) -> None:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        connection.channel().queue_delete(str(NOBLE))
    watch = QueueWatch(settings, engine)
    watch.look()
    assert lengths(engine)["debci-noble-amd64"] == 0
    rabbit.kill()
    try:
        with pytest.raises(BrokerError):
            watch.look()
    finally:
        rabbit.start()
    watch.look()  # a queue made just before SIGKILL may be gone; a look makes it again
    with Publisher(rabbit.url) as publisher:
        publisher.publish_request(NOBLE, b"demo")
    watch.look()
    assert lengths(engine)["debci-noble-amd64"] == 1


# --- both functions as they are served --------------------------------------------------------------


@pytest.fixture
def configured(
    rabbit: Rabbit,
    swift: Swift,
    settings: Settings,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment that a function starts in."""
    for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "settings.toml"
    contexts = list(settings.topology.contexts)
    config.write_text(
        f'[broker]\nurl = "{rabbit.url}"\n[database]\nurl = "{database}"\n[index]\nsweep_interval = 1\n'
        f'[store]\nauth_version = "1"\nauth_url = "{swift.auth_url}"\n'
        f'user = "{swift.user}"\nkey = "{swift.key}"\n'
        f'[topology]\nreleases = ["noble"]\narchitectures = ["amd64"]\ncontexts = {contexts}\n'
    )
    monkeypatch.setenv("TESTYARD_CONFIG", str(config))


def serve(app: Starlette, until: Callable[[], bool]) -> None:
    """Let a function live until something is so, and it is healthy."""

    async def live() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://f") as client,
        ):
            deadline = time.monotonic() + 20
            while not (await asyncio.to_thread(until) and (await client.get("/health")).status_code == 200):
                assert time.monotonic() < deadline, (await client.get("/health")).text
                await asyncio.sleep(0.02)

    asyncio.run(live())


@pytest.mark.usefixtures("configured")
def test_the_index_function(rabbit: Rabbit, store: SwiftStore, engine: Engine) -> None:
    message = put(store, path_of(1))
    with Publisher(rabbit.url) as publisher:
        for body in (b"poison", message.to_bytes(), message.to_bytes()):
            publisher.publish(COMPLETION_EXCHANGE, "", body)
    put(store, path_of(2))
    serve(
        functions.index.app.create_app(),
        lambda: len(runs(engine)) == 2 and len(dead_letters(rabbit.url)) == 1,
    )
    (letter,) = dead_letters(rabbit.url)
    assert (letter.body, letter.queue) == (b"poison", INDEX_QUEUE)
    assert letter.reason.startswith("message: no JSON object")


POISON = [
    b"",
    b'{"kind": "phase", "request_id": "x", "queue": "q", "package": "p", "time": 1, "data": {}}',
    b'{"kind": "log", "request_id": "x", "queue": "q", "package": "p", "time": 1, "data": {"end": "x"}}',
    b'{"kind": "taken", "request_id": "x", "queue": "q", "package": "\\ud800", "time": 1, "data": {}}',
    b'{"kind": "taken", "request_id": "x", "queue": "q", "package": "p", "time": 1e999, "data": {}}',
    b'{"kind": "stored", "request_id": "x", "queue": "q", "package": "p", "time": 1, "data": {"path": {}}}',
]


@pytest.mark.usefixtures("configured")
def test_the_status_function(rabbit: Rabbit, engine: Engine) -> None:
    steps = [(EventKind.ACCEPTED, {"parameters": {"a": 1}}), (EventKind.TAKEN, {"worker": "w1"})]
    with Publisher(rabbit.url) as publisher:
        for body in POISON:
            publisher.publish(EVENTS_EXCHANGE, "x.x", body)
        for number, (kind, data) in enumerate(steps):
            event = Event(kind, ID, str(NOBLE), "demo", time=10.0 + number, data=data)
            publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())

    def done() -> bool:
        with engine.connect() as connection:
            found = read.find_request(connection, ID)
        return (
            found is not None
            and found.state is RequestState.RUNNING
            and lengths(engine).get(DEAD_LETTERS) == len(POISON)
        )

    serve(functions.status.app.create_app(), done)
    assert [letter.body for letter in dead_letters(rabbit.url)] == POISON
    assert {letter.queue for letter in dead_letters(rabbit.url)} == {STATUS_QUEUE}

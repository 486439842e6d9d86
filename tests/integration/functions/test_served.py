# SPDX-License-Identifier: AGPL-3.0-or-later
"""The index and status functions as they are served, with real RabbitMQ and Swift, on each database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pika
import pytest
from sqlalchemy import Engine, inspect
from starlette.applications import Starlette

import functions.index.app
import functions.status.app
from functions.status.app import QueueWatch
from tests.integration.functions.conftest import Configure
from tests.integration.functions.results import ID, path_of, put, request, runs
from tests.postgres import postgres_server
from tests.servers import Rabbit
from testyard.adapters.amqp import INDEX_QUEUE, STATUS_QUEUE, Publisher, connection_parameters
from testyard.adapters.deadletters import dead_letters
from testyard.adapters.swift import SwiftStore
from testyard.errors import BrokerError
from testyard.event import COMPLETION_EXCHANGE, EVENTS_EXCHANGE, Event, EventKind
from testyard.index import RequestState, open_index, read
from testyard.index.write import apply_event
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.settings import Settings
from worker.claim import ClaimBook, ClaimState

NOBLE = QueueName("ubuntu", "noble", "amd64")


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
    rabbit: Rabbit, settings: Settings, tmp_path: Path
) -> None:
    engine = open_index(f"sqlite:///{tmp_path}/index.db", writer=True)
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
    engine.dispose()


@contextmanager
def serving(create_app: Callable[[], Starlette]) -> Iterator[Callable[[], httpx.Response]]:
    """A function while it lives; gives what asks for its health."""
    with asyncio.Runner() as runner:
        app = create_app()
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())

        async def health() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://f") as client:
                return await client.get("/health")

        try:
            yield lambda: runner.run(health())
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


def wait_healthy(health: Callable[[], httpx.Response]) -> None:
    wait(lambda: health().status_code == 200, health)


def wait(condition: Callable[[], bool], health: Callable[[], httpx.Response]) -> None:
    """Wait until something is so; show the function's health if it is not."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, health().text
        time.sleep(0.02)


def problems(health: Callable[[], httpx.Response]) -> list[str]:
    return str(health().json()["reason"]).split("; ")


def inspect_tables(url: str) -> int:
    engine = open_index(url)
    try:
        return len(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def tell(rabbit: Rabbit, *events: Event) -> None:
    with Publisher(rabbit.url) as publisher:
        for event in events:
            publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())


def test_the_index_function(
    rabbit: Rabbit, store: SwiftStore, engine: Engine, database: str, configure: Configure
) -> None:
    message = put(store, path_of(1))
    with Publisher(rabbit.url) as publisher:
        for body in (b"poison", message.to_bytes(), message.to_bytes()):
            publisher.publish(COMPLETION_EXCHANGE, "", body)
    put(store, path_of(2))
    silent = "22222222-3333-4444-8555-666677778888"
    with engine.begin() as connection:
        apply_event(connection, Event(EventKind.TAKEN, silent, str(NOBLE), "private-test", time=10.0))
    book = ClaimBook(store, "w1", 60)
    claim = book.take(f"{NOBLE}/id/{silent}", silent)
    place = {"container": "private-autopkgtest-noble", "path": str(path_of(3))}
    book.renew(f"{NOBLE}/id/{silent}", claim, state=ClaimState.DONE, **place)

    def done() -> bool:
        ended = request(engine, silent)
        return (
            len(runs(engine)) == 2
            and len(dead_letters(rabbit.url)) == 1
            and ended is not None
            and ended.state is RequestState.DONE
        )

    configure(database)
    with serving(functions.index.app.create_app) as health:
        wait(done, health)
        wait_healthy(health)
    (letter,) = dead_letters(rabbit.url)
    assert (letter.body, letter.queue) == (b"poison", INDEX_QUEUE)
    assert letter.reason.startswith("message: no JSON object")


def poison(request_id: str = "x", package: str = "p", **data: object) -> bytes:
    event = Event(EventKind.TAKEN, request_id, "q", package, time=1.0, data=data)
    return event.to_bytes()


POISON = [
    b"",
    b'{"kind": "phase", "request_id": "x", "queue": "q", "package": "p", "time": 1, "data": {}}',
    b'{"kind": "log", "request_id": "x", "queue": "q", "package": "p", "time": 1, "data": {"end": "x"}}',
    b'{"kind": "taken", "request_id": "x", "queue": "q", "package": "\\ud800", "time": 1, "data": {}}',
    b'{"kind": "taken", "request_id": "x", "queue": "q", "package": "p", "time": 1e999, "data": {}}',
    b'{"kind": "stored", "request_id": "x", "queue": "q", "package": "p", "time": 1, "data": {"path": {}}}',
    poison(request_id="x" * 100_000),
    poison(request_id="a\0b"),
    poison(package="a\0b"),
]


def test_the_status_function(rabbit: Rabbit, engine: Engine, database: str, configure: Configure) -> None:
    with Publisher(rabbit.url) as publisher:
        for body in POISON:
            publisher.publish(EVENTS_EXCHANGE, "x.x", body)
    odd = "\0" + "x" * 10**5  # what a person may have written does no harm
    tell(
        rabbit,
        Event(EventKind.ACCEPTED, ID, str(NOBLE), "demo", time=10.0, data={"parameters": {"a": odd}}),
        Event(EventKind.TAKEN, ID, str(NOBLE), "demo", time=11.0, data={"worker": odd}),
    )

    def done() -> bool:
        found = request(engine)
        return (
            found is not None
            and found.state is RequestState.RUNNING
            and lengths(engine).get(DEAD_LETTERS) == len(POISON)
        )

    configure(database)
    with serving(functions.status.app.create_app) as health:
        wait(done, health)
        wait_healthy(health)
    assert [letter.body for letter in dead_letters(rabbit.url)] == POISON
    assert {letter.queue for letter in dead_letters(rabbit.url)} == {STATUS_QUEUE}


def test_functions_start_before_their_database_and_outlive_its_crash(
    rabbit: Rabbit, store: SwiftStore, configure: Configure
) -> None:
    accepted = Event(EventKind.ACCEPTED, ID, str(NOBLE), "demo", time=10.0)
    with postgres_server() as postgres:
        url = postgres.new_schema()
        postgres.stop()
        configure(url)
        with (
            serving(functions.index.app.create_app) as index,
            serving(functions.status.app.create_app) as status,
        ):
            tell(rabbit, accepted)
            for health in (index, status):
                wait(lambda ask=health: "index: OperationalError" in ask().text, health)  # type: ignore[misc]
                assert health().status_code == 503
                assert postgres.password not in health().text
            postgres.start()
            engine = open_index(url)
            for health in (index, status):
                wait_healthy(health)
            wait(lambda: request(engine) is not None, status)
            postgres.kill()
            message = put(store, path_of(1))
            with Publisher(rabbit.url) as publisher:
                publisher.publish(COMPLETION_EXCHANGE, "", message.to_bytes())
            tell(rabbit, Event(EventKind.TAKEN, ID, str(NOBLE), "demo", time=11.0))
            postgres.start()
            wait(lambda: len(runs(engine)) == 1, index)
            found = request(engine)
            assert found is not None
            assert (found.state, found.path) == (RequestState.DONE, str(path_of(1)))
            for health in (index, status):
                wait_healthy(health)
        engine.dispose()
        assert dead_letters(rabbit.url) == ()


def test_messages_that_wait_for_the_database_show_in_the_health(
    rabbit: Rabbit, store: SwiftStore, configure: Configure
) -> None:
    with postgres_server() as postgres:
        url = postgres.new_schema()
        configure(url, sweep_interval=3600)
        with serving(functions.index.app.create_app) as health:
            wait(lambda: inspect_tables(url) > 0, health)
            wait_healthy(health)
            postgres.stop()
            with Publisher(rabbit.url) as publisher:
                publisher.publish(COMPLETION_EXCHANGE, "", put(store, path_of(1)).to_bytes())
            # the sweep, which has a reason of its own, may have been in its way
            wait(lambda: any(part.startswith("index: ") for part in problems(health)), health)
            assert health().status_code == 503
            postgres.start()
            wait_healthy(health)
        engine = open_index(url)
        assert len(runs(engine)) == 1
        engine.dispose()

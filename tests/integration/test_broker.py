# SPDX-License-Identifier: AGPL-3.0-or-later
"""The adapter and the command line with a real RabbitMQ."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
import pytest
from click.testing import Result
from pika.adapters.blocking_connection import BlockingChannel
from typer.testing import CliRunner

from tests.servers import Rabbit, rabbit_node
from tests.unit.testyard.sites import serving
from testyard.adapters.amqp import (
    ACCEPTED_HEADER,
    INDEX_QUEUE,
    STATUS_QUEUE,
    DeadLetter,
    Publisher,
    connection_parameters,
    dead_letters,
    declare_topology,
    queue_length,
)
from testyard.adapters.consumer import Consumer
from testyard.adapters.watch import RequestWatch
from testyard.cli.app import app
from testyard.errors import BrokerError, ResultError, StoreError
from testyard.event import COMPLETION_EXCHANGE, EVENTS_EXCHANGE, Event, EventKind
from testyard.queue import DEAD_LETTERS, QueueName, all_queues
from testyard.request import make_request, parse_body

ID = "11112222-3333-4444-8555-666677778888"
NOBLE = QueueName("ubuntu", "noble", "amd64")
QUEUES = all_queues(("ubuntu", "ppa"), ("noble",), ("amd64", "arm64"))
OURS = (*map(str, QUEUES), DEAD_LETTERS, INDEX_QUEUE, STATUS_QUEUE)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    with rabbit_node(tmp_path_factory.mktemp("rabbit") / "state") as found:
        yield found


@contextmanager
def channel_to(url: str) -> Iterator[BlockingChannel]:
    with pika.BlockingConnection(connection_parameters(url)) as connection:
        yield connection.channel()


@pytest.fixture
def rabbit(node: Rabbit) -> Rabbit:
    """The node with the topology, and nothing in its queues."""
    with channel_to(node.url) as channel:
        declare_topology(channel, QUEUES)
        for name in OURS:
            channel.queue_purge(name)
    return node


def waiting(rabbit: Rabbit, queue: str) -> int:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        found = queue_length(connection, queue)
    assert found is not None
    return found[0]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- topology and publishing ------------------------------------------------------------------------


def test_declaring_again_changes_nothing(rabbit: Rabbit) -> None:
    with Publisher(rabbit.url) as publisher:
        publisher.publish_request(NOBLE, b"demo", ID)
    with channel_to(rabbit.url) as channel:
        declare_topology(channel, QUEUES)
        for queue in QUEUES:  # as the older system's worker declares them
            channel.queue_declare(str(queue), durable=True, auto_delete=False)
        channel.exchange_declare(COMPLETION_EXCHANGE, "fanout", durable=True, auto_delete=False)
        channel.exchange_declare("teststatus.fanout", "fanout", durable=False, auto_delete=False)
    assert waiting(rabbit, str(NOBLE)) == 1


def test_a_request_is_persistent_and_has_its_id(rabbit: Rabbit) -> None:
    before = time.time()
    with Publisher(rabbit.url) as publisher:
        publisher.publish_request(NOBLE, b"demo\n{}", ID)
    with channel_to(rabbit.url) as channel:
        method, properties, body = channel.basic_get(str(NOBLE), auto_ack=True)
    assert method is not None
    assert properties is not None
    assert (body, properties.message_id, properties.delivery_mode) == (b"demo\n{}", ID, 2)
    assert before <= float(properties.headers[ACCEPTED_HEADER]) <= time.time()


def test_a_missing_queue_is_an_error_and_nothing_is_lost_elsewhere(rabbit: Rabbit) -> None:
    with Publisher(rabbit.url) as publisher:
        publisher.publish_request(NOBLE, b"one", ID)
        with pytest.raises(BrokerError, match="there is no queue debci-jammy-amd64; nothing was sent"):
            publisher.publish_request(QueueName("ubuntu", "jammy", "amd64"), b"two", ID)
        publisher.publish_request(NOBLE, b"three", ID)  # the connection is still good
    assert waiting(rabbit, str(NOBLE)) == 2
    assert waiting(rabbit, DEAD_LETTERS) == 0


def test_a_missing_exchange_is_an_error_and_the_next_works(rabbit: Rabbit) -> None:
    with Publisher(rabbit.url) as publisher:
        with pytest.raises(BrokerError, match="cannot publish"):
            publisher.publish("nosuch", "x", b"")
        publisher.publish(COMPLETION_EXCHANGE, "", b"x")
    assert waiting(rabbit, INDEX_QUEUE) == 1


def test_what_was_confirmed_outlives_sigkill(rabbit: Rabbit) -> None:
    with Publisher(rabbit.url) as publisher:
        for number in range(20):
            publisher.publish_request(NOBLE, f"demo{number}".encode(), ID)
        publisher.park(b"bad", queue=str(NOBLE), reason="package: bad")
        publisher.publish(COMPLETION_EXCHANGE, "", b"done")
        rabbit.kill()
        with pytest.raises(BrokerError):
            publisher.publish_request(NOBLE, b"never", ID)
        rabbit.start()
        publisher.publish_request(NOBLE, b"again", ID)
    with channel_to(rabbit.url) as channel:
        bodies = [channel.basic_get(str(NOBLE), auto_ack=True)[2] for _ in range(22)]
    assert bodies == [*(f"demo{number}".encode() for number in range(20)), b"again", None]
    assert [letter.body for letter in dead_letters(rabbit.url)] == [b"bad"]
    assert waiting(rabbit, INDEX_QUEUE) == 1


def test_an_old_client(rabbit: Rabbit) -> None:
    with channel_to(rabbit.url) as channel:  # no confirms, no properties, no declaring
        channel.basic_publish("", str(NOBLE), b'demo {"triggers": ["alpha/1"]}')
    wait_for(lambda: waiting(rabbit, str(NOBLE)) == 1)
    with channel_to(rabbit.url) as channel:
        _method, properties, body = channel.basic_get(str(NOBLE), auto_ack=True)
    assert properties is not None
    assert (properties.message_id, properties.headers) == (None, None)
    assert body is not None
    assert parse_body(body) == make_request("demo", {"triggers": ["alpha/1"]})


@pytest.mark.parametrize("header", [b"AMQP\x01\x01\x09\x01", b"AMQP\x00\x00\x09\x01"])
def test_both_protocol_headers_are_welcome(rabbit: Rabbit, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", rabbit.state.ports["broker"]), timeout=10) as connection:
        connection.sendall(header)
        frame = connection.recv(11)
    assert (frame[0], frame[7:11]) == (1, b"\x00\x0a\x00\x0a")  # a method frame: connection.start


def test_queue_lengths(rabbit: Rabbit) -> None:
    with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
        assert queue_length(connection, "nosuch") is None
        assert queue_length(connection, str(NOBLE)) == (0, 0)
        channel = connection.channel()
        channel.basic_consume(str(NOBLE), lambda *_: None)
        assert queue_length(connection, str(NOBLE)) == (0, 1)


# --- dead letters -----------------------------------------------------------------------------------

LETTERS = (
    DeadLetter(str(NOBLE), "body: not UTF-8 (byte 0)", ID, b"\xff"),
    DeadLetter(INDEX_QUEUE, "message: no JSON object", "", b"[]"),
    DeadLetter(str(NOBLE), "package: '../x' is no source package name", "", b"../x"),
)


def park_all(url: str) -> None:
    with Publisher(url) as publisher:
        for letter in LETTERS:
            publisher.park(
                letter.body, queue=letter.queue, reason=letter.reason, request_id=letter.request_id
            )


def test_dead_letters_are_seen_in_order_and_stay(rabbit: Rabbit) -> None:
    park_all(rabbit.url)
    for _ in range(3):
        assert dead_letters(rabbit.url) == LETTERS
        wait_for(lambda: waiting(rabbit, DEAD_LETTERS) == 3)


def test_a_dead_letter_of_somebody_else(rabbit: Rabbit) -> None:
    with channel_to(rabbit.url) as channel:
        channel.basic_publish("", DEAD_LETTERS, b"x")
    wait_for(lambda: waiting(rabbit, DEAD_LETTERS) == 1)
    assert dead_letters(rabbit.url) == (DeadLetter("", "", "", b"x"),)


def test_without_a_queue_for_dead_letters(rabbit: Rabbit) -> None:
    with channel_to(rabbit.url) as channel:
        channel.queue_delete(DEAD_LETTERS)
    with pytest.raises(BrokerError, match="no queue testyard-dead") as caught:
        dead_letters(rabbit.url)
    assert "testyard broker setup" in caught.value.resolution
    with Publisher(rabbit.url) as publisher, pytest.raises(BrokerError, match="no queue testyard-dead"):
        publisher.park(b"x", queue="q", reason="r")


# --- consumer and watch -----------------------------------------------------------------------------


@contextmanager
def consuming(rabbit: Rabbit, handle: Callable[[bytes], None]) -> Iterator[Consumer]:
    consumer = Consumer(rabbit.url, INDEX_QUEUE, handle, pause=0.05)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield consumer
    finally:
        consumer.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_consumer_settles_each_message_once(rabbit: Rabbit) -> None:
    seen: list[bytes] = []

    def handle(body: bytes) -> None:
        seen.append(body)
        if body == b"bad":
            raise ResultError("message: no JSON object")
        if body == b"away" and seen.count(b"away") < 3:
            raise StoreError("store: away")

    with Publisher(rabbit.url) as publisher:
        for body in (b"one", b"bad", b"away", b"two"):
            publisher.publish(COMPLETION_EXCHANGE, "", body)
    with consuming(rabbit, handle) as consumer:
        wait_for(lambda: seen.count(b"away") == 3 and b"two" in seen)
        wait_for(lambda: waiting(rabbit, DEAD_LETTERS) == 1)
        assert consumer.problem == ""
    assert sorted(seen) == [b"away"] * 3 + [b"bad", b"one", b"two"]
    assert dead_letters(rabbit.url) == (DeadLetter(INDEX_QUEUE, "message: no JSON object", "", b"bad"),)
    assert waiting(rabbit, INDEX_QUEUE) == 0


def test_a_consumer_waits_for_its_queue(rabbit: Rabbit) -> None:
    with channel_to(rabbit.url) as channel:
        channel.queue_delete(INDEX_QUEUE)
    seen: list[bytes] = []
    with consuming(rabbit, seen.append) as consumer:
        wait_for(lambda: "NOT_FOUND" in consumer.problem)
        with channel_to(rabbit.url) as channel:
            declare_topology(channel, QUEUES)
        with Publisher(rabbit.url) as publisher:
            publisher.publish(COMPLETION_EXCHANGE, "", b"x")
        wait_for(lambda: seen == [b"x"])
        assert consumer.problem == ""


def tell(url: str, *events: Event | bytes, key: str = f"log.{ID}") -> None:
    with Publisher(url) as publisher:
        for event in events:
            if isinstance(event, bytes):
                publisher.publish(EVENTS_EXCHANGE, key, event)
            else:
                publisher.publish(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())


def test_a_watch_hears_its_own_request_to_the_end(rabbit: Rabbit) -> None:
    taken = Event(EventKind.TAKEN, ID, str(NOBLE), "demo", data={"worker": "w1"})
    stored = Event(EventKind.STORED, ID, str(NOBLE), "demo")
    other = Event(EventKind.STORED, "other", str(NOBLE), "demo")
    with RequestWatch(rabbit.url, ID) as watch:
        tell(rabbit.url, other, taken, b"no event", stored, taken)
        heard = [event for event in watch.events(tick=0.05) if event is not None]
    assert heard == [taken, stored]


def test_a_watch_ticks_in_silence(rabbit: Rabbit) -> None:
    with RequestWatch(rabbit.url, ID) as watch:
        assert next(watch.events(tick=0.05)) is None


# --- command line -----------------------------------------------------------------------------------


@pytest.fixture
def run(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command with this broker and no other settings."""
    for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
        monkeypatch.delenv(name)
    config = rabbit.state.path / "cli.toml"
    config.write_text(
        f'[broker]\nurl = "{rabbit.url}"\n[site]\nurl = "http://127.0.0.1:1"\n'
        '[topology]\nreleases = ["noble"]\narchitectures = ["amd64", "arm64"]\ncontexts = ["ubuntu", "ppa"]\n'
    )
    monkeypatch.setenv("TESTYARD_CONFIG", str(config))

    def invoke(*arguments: str) -> Result:
        result: Result = CliRunner().invoke(app, list(arguments))
        assert "Traceback" not in result.output
        assert rabbit.state.secrets["broker_password"] not in result.output
        return result

    return invoke


def test_broker_setup(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    with channel_to(rabbit.url) as channel:
        for name in OURS:
            channel.queue_delete(name)
    names = [str(queue) for queue in QUEUES]
    assert run("broker", "setup").stdout.split() == names
    assert json.loads(run("broker", "setup", "--json").stdout) == {"queues": names}
    assert [waiting(rabbit, name) for name in OURS] == [0] * len(OURS)


def test_request(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    result = run("request", "demo", "--trigger", "alpha/1", "--env", "A=1", "--all-proposed", "--json")
    assert result.exit_code == 0
    accepted = json.loads(result.stdout)["requests"]
    assert [one["queue"] for one in accepted] == ["debci-noble-amd64", "debci-noble-arm64"]
    for one in accepted:
        with channel_to(rabbit.url) as channel:
            _method, properties, body = channel.basic_get(one["queue"], auto_ack=True)
            told = channel.basic_get(STATUS_QUEUE, auto_ack=True)[2]
        assert body is not None
        assert told is not None
        request, event = parse_body(body), Event.from_bytes(told)
        assert (request.package, request.triggers, request.env, request.all_proposed) == (
            "demo",
            ("alpha/1",),
            ("A=1",),
            True,
        )
        assert properties is not None
        assert {request.uuid, properties.message_id, event.request_id} == {one["request_id"]}
        assert (event.kind, event.data["parameters"]) == (EventKind.ACCEPTED, request.parameters)
        assert one["url"].endswith(one["request_id"])


def test_request_for_a_person(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    lines = run("request", "demo", "--ppa", "some-user/first", "--arch", "arm64").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["debci-ppa-noble-arm64"]
    assert waiting(rabbit, "debci-ppa-noble-arm64") == 1


def test_what_was_accepted_is_told_when_the_next_fails(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    with channel_to(rabbit.url) as channel:
        channel.queue_delete("debci-noble-arm64")
    result = run("request", "demo", "--json")
    assert result.exit_code == 1
    assert [one["queue"] for one in json.loads(result.stdout)["requests"]] == ["debci-noble-amd64"]
    assert "no queue debci-noble-arm64" in result.stderr
    assert waiting(rabbit, "debci-noble-amd64") == 1


def test_a_request_is_accepted_though_nobody_can_be_told(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    with channel_to(rabbit.url) as channel:
        channel.exchange_delete(EVENTS_EXCHANGE)
    result = run("request", "demo", "--arch", "amd64")
    assert (result.exit_code, result.stderr) == (0, "")
    assert waiting(rabbit, "debci-noble-amd64") == 1


def test_queue_dead(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    assert run("queue", "--dead").stdout == "No dead letters.\n"
    park_all(rabbit.url)
    shown = run("queue", "--dead").stdout
    assert all(words in shown for words in ("not UTF-8", "no source package", INDEX_QUEUE))
    found = json.loads(run("queue", "--dead", "--json").stdout)["dead"]
    assert [(one["queue"], one["reason"], one["request_id"]) for one in found] == [
        (letter.queue, letter.reason, letter.request_id) for letter in LETTERS
    ]
    wait_for(lambda: waiting(rabbit, DEAD_LETTERS) == 3)


@contextmanager
def worker(rabbit: Rabbit, ending: Event) -> Iterator[None]:
    """Takes one request and tells of it as a worker does, up to ``ending``."""

    def work() -> None:
        with channel_to(rabbit.url) as channel:
            wait_for(lambda: waiting(rabbit, str(NOBLE)) == 1)
            body = channel.basic_get(str(NOBLE), auto_ack=True)[2]
        assert body
        request_id = str(parse_body(body).uuid)
        steps: list[tuple[EventKind, dict[str, object]]] = [
            (EventKind.TAKEN, {"worker": "w1"}),
            (EventKind.LOG, {"text": "a line of the log\n", "end": 18}),
            (ending.kind, dict(ending.data)),
        ]
        tell(rabbit.url, *(Event(kind, request_id, str(NOBLE), "demo", data=data) for kind, data in steps))

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(20)


STORED = Event(EventKind.STORED, ID, str(NOBLE), "demo")


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("neutral", 0), ("fail", 4), ("tmpfail", 4)])
def test_follow(
    rabbit: Rabbit, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, outcome: str, code: int
) -> None:
    found = {
        "source": "demo",
        "version": "1",
        "release": "noble",
        "architecture": "amd64",
        "outcome": outcome,
        "explanation": "as it went",
        "tests": [],
        "phases": [],
        "run_id": "20260105_101500_0a1b2@",
        "request_id": ID,
        "triggers": [],
        "exit_code": 0,
        "urls": {"page": "p", "log": "l", "artifacts": "a"},
    }
    with serving() as site, worker(rabbit, STORED):
        monkeypatch.setenv("TESTYARD_SITE__URL", site.url)
        site.otherwise = (200, {"runs": [found]})
        result = run("request", "demo", "--arch", "amd64", "--follow", "--json")
    assert result.exit_code == code
    answer = json.loads(result.stdout)
    assert (answer["queue"], answer["run"]) == (str(NOBLE), found)
    assert "a line of the log" in result.stderr
    assert "as it went" in result.stderr


def test_follow_a_rejected_request(rabbit: Rabbit, run: Callable[..., Result]) -> None:
    ending = Event(EventKind.REJECTED, ID, str(NOBLE), "", data={"reason": "ppas: not here"})
    with worker(rabbit, ending):
        result = run("request", "demo", "--arch", "amd64", "--follow")
    assert result.exit_code == 1
    assert "request: ppas: not here" in result.stderr

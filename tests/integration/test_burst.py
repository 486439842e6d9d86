# SPDX-License-Identifier: AGPL-3.0-or-later
"""As much in a minute as otherwise in weeks: all answered, nothing lost, memory bounded.

25,000 in a minute with ``--long`` (docs/figures.md), in CI as many a second for some seconds.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine, func, select

from tests.bench.load import Order
from tests.bench.webhook import send
from tests.integration.brokers import channel_to, waiting
from tests.served import Served, projects_file, served
from tests.servers import Rabbit, Swift
from testyard.adapters.amqp import HOOKS_QUEUE, declare_topology
from testyard.index import open_index
from testyard.intake import Scope, create_intake, tokens
from testyard.intake.schema import asked
from testyard.local.toml import render_toml
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.request import parse_body

COUNT, SECONDS = 25_000, 60.0
UPSTREAM, UBUNTU = QueueName("upstream", "noble", "amd64"), QueueName("ubuntu", "noble", "amd64")
QUERY = "release=noble&arch=amd64&package=hello"
#: Requests of one call, and calls at a time.
IN_A_CALL, AT_A_TIME = 100, 8
#: MB that a function may have, at any time.
WEBHOOK_MOST, FORGE_MOST, REQUEST_MOST = 80, 220, 250


@dataclass
class Place:
    """Settings on servers, functions that run with them, and what is in queues and tables."""

    folder: Path
    rabbit: Rabbit
    memory: Engine
    environment: dict[str, str]
    most: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def function(self, name: str) -> Iterator[Served]:
        with served(self.folder, f"functions.{name}.app", self.environment) as found:
            yield found
            self.look(name, found)
            assert "Traceback" not in found.log.read_text()

    def look(self, name: str, function: Served) -> None:
        """Note how much memory it has, in MB."""
        self.most[name] = max(self.most[name], psutil.Process(function.pid).memory_info().rss // 1_000_000)

    def accepted(self) -> int:
        with self.memory.connect() as connection:
            return connection.execute(select(func.count()).select_from(asked)).scalar_one()

    def queued(self, queue: QueueName) -> Counter[str]:
        """How often each request's id is in a queue, which is empty then."""
        found: Counter[str] = Counter()
        with channel_to(self.rabbit.url) as channel:
            for _, _, body in channel.consume(str(queue), auto_ack=True, inactivity_timeout=1):
                if body is None:
                    return found
                found[parse_body(body).uuid or ""] += 1
        return found

    def ids(self) -> set[str]:
        with self.memory.connect() as connection:
            return set(connection.execute(select(asked.c.request_id)).scalars())


@pytest.fixture
def place(broker_node: Rabbit, store_node: Swift, database: str, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "policy.toml").write_text(
        '[git]\ninternal = true\n[[rule]]\nwho = "operator/britney"\nmay = ["request", "unlimited"]\n'
    )
    store = {"auth_url": store_node.auth_url, "user": store_node.user, "key": store_node.key}
    files = {"projects": str(projects_file(tmp_path)), "policy": str(tmp_path / "policy.toml")}
    sections = {
        "broker": {"url": broker_node.url},
        "store": {"auth_version": "1", **store},
        "database": {"url": database},
        "topology": {"releases": ["noble"], "architectures": ["amd64"], "contexts": ["ubuntu", "upstream"]},
        "intake": files,
    }
    config = tmp_path / "settings.toml"
    config.touch(0o600)
    config.write_text(render_toml(sections))
    with channel_to(broker_node.url) as channel:
        declare_topology(channel, (UPSTREAM, UBUNTU))
        for queue in (HOOKS_QUEUE, DEAD_LETTERS, str(UPSTREAM), str(UBUNTU)):
            channel.queue_purge(queue)
    engine = open_index(database, writer=True)
    create_intake(engine)
    yield Place(tmp_path, broker_node, engine, {"TESTYARD_CONFIG": str(config)})
    engine.dispose()


def hooks(place: Place, count: int, seconds: float) -> None:
    """Deliveries of a hundred projects, each of another pull request, at random times."""
    with place.function("webhook") as webhook:
        outcome = send(Order(webhook.url, count, rate=count / seconds, query=QUERY, different=0))
    slowest = max(outcome.latencies)
    print(f"{count} deliveries in {outcome.seconds:.1f} s, the slowest after {slowest:.2f} s", end="; ")
    assert outcome.answers == {"202": count}
    assert waiting(place.rabbit, HOOKS_QUEUE) == count
    begin = time.monotonic()
    with place.function("forge") as forge:
        while place.accepted() < count or waiting(place.rabbit, HOOKS_QUEUE):
            assert time.monotonic() - begin < 60 + count / 5, forge.log.read_text()[-3000:]
            place.look("forge", forge)
            time.sleep(0.5)
        took = time.monotonic() - begin
    assert waiting(place.rabbit, DEAD_LETTERS) == 0
    assert place.queued(UPSTREAM) == dict.fromkeys(place.ids(), 1)
    print(f"worked on in {took:.0f} s, {count / took:.0f} a second; MB at most: {dict(place.most)}")
    assert place.most["webhook"] < WEBHOOK_MOST
    assert place.most["forge"] < FORGE_MOST


def calls(place: Place, count: int, seconds: float) -> None:
    """Requests of one script, a hundred in a call."""
    with place.memory.begin() as memory:
        token = tokens.make(memory, owner="operator/britney", name="test", scopes=(Scope.REQUEST,))[1]
    given: list[str] = []
    times: list[float] = []
    with place.function("request") as function, httpx.Client(trust_env=False, timeout=60) as client:
        begin = time.monotonic()

        def call(number: int) -> None:
            due = begin + number * IN_A_CALL * seconds / count
            time.sleep(max(0.0, due - time.monotonic()))
            asks = [
                {"package": f"package{number * IN_A_CALL + each}", "release": "noble", "arch": ["amd64"]}
                for each in range(IN_A_CALL)
            ]
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            answer = client.post(f"{function.url}/api/v1/requests", content=json.dumps(asks), headers=headers)
            times.append(time.monotonic() - due)
            assert answer.status_code == 202, answer.text
            given.extend(one["id"] for one in answer.json()["requests"])
            place.look("request", function)

        with ThreadPoolExecutor(AT_A_TIME) as threads:
            list(threads.map(call, range(count // IN_A_CALL)))
        took = time.monotonic() - begin
    assert len(given) == count
    assert place.queued(UBUNTU) == dict.fromkeys(given, 1)
    print(
        f"{count} requests in {took:.1f} s; a call of {IN_A_CALL}: median"
        f" {sorted(times)[len(times) // 2]:.2f} s, slowest {max(times):.2f} s; MB: {dict(place.most)}"
    )
    assert place.most["request"] < REQUEST_MOST


def test_hooks(place: Place) -> None:
    hooks(place, 100, 0.25)


def test_calls(place: Place) -> None:
    calls(place, 1500, 3.6)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_25_000_hooks(place: Place) -> None:
    hooks(place, COUNT, SECONDS)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_25_000_requests(place: Place) -> None:
    calls(place, COUNT, SECONDS)

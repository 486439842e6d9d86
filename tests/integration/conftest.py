# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that several modules share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.conftest import NewIndex
from tests.integration.brokers import OURS, QUEUES, channel_to
from tests.integration.caring import urgent_of
from tests.integration.doors import Place
from tests.integration.spectators import Stage
from tests.integration.yard import Yard
from tests.servers import Rabbit, Swift, rabbit_node, swift_server
from testyard.adapters.amqp import declare_topology
from testyard.index import open_index
from testyard.queue import DEAD_LETTERS


@pytest.fixture(scope="session")
def broker_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A RabbitMQ: one for each process of the tests."""
    with rabbit_node(tmp_path_factory.mktemp("rabbit") / "state") as found:
        yield found


@pytest.fixture
def broker(broker_node: Rabbit) -> Rabbit:
    """The node with the topology, and nothing in its queues."""
    with channel_to(broker_node.url) as channel:
        declare_topology(channel, QUEUES)
        for name in OURS:
            channel.queue_purge(name)
    return broker_node


@pytest.fixture(scope="session")
def store_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """A Swift: one for each process of the tests."""
    with swift_server(tmp_path_factory.mktemp("swift") / "state") as found:
        yield found


@pytest.fixture
def yard(broker_node: Rabbit, store_node: Swift, tmp_path: Path) -> Iterator[Yard]:
    """A queue of its own, and workers for it."""
    made = Yard(broker_node, store_node, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def private_yard(broker_node: Rabbit, store_node: Swift, tmp_path: Path) -> Iterator[Yard]:
    """A yard whose release no other test has: a private container is its first reader's."""
    made = Yard(broker_node, store_node, tmp_path, f"sample{uuid.uuid4().hex[:8]}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def stage(yard: Yard, store_node: Swift) -> Iterator[Stage]:
    """The yard's status function, which hears of arrivals; queues of two contexts."""
    urgent = str(urgent_of(yard))
    yard.settings["topology"]["contexts"] = ["ubuntu", "urgent"]
    made = Stage(yard, store_node.public_url)
    yard.channel.queue_purge(DEAD_LETTERS)
    yard.channel.queue_declare(urgent, durable=True)
    made.start("status")
    made.listens()
    yield made
    made.close()
    yard.channel.queue_delete(urgent)


@pytest.fixture
def engine(stage: Stage) -> Iterator[Engine]:
    """The stage's index."""
    found = open_index(stage.database)
    yield found
    found.dispose()


@pytest.fixture
def place(broker: Rabbit, new_index: NewIndex) -> Iterator[Place]:
    """A door on the broker, and a database of its own."""
    with ExitStack() as stack:
        yield Place(broker, new_index(), stack)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that several modules share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.brokers import OURS, QUEUES, channel_to
from tests.servers import Rabbit, rabbit_node
from testyard.adapters.amqp import declare_topology


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

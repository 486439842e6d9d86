# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real RabbitMQ and a real Swift for each module, and an index on each database for each test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from tests.forges import ForgeServer, forge_server
from tests.integration.functions.desk import Desk
from tests.integration.functions.hook_yard import Yard, yard_with
from tests.integration.functions.results import CONTAINER
from tests.servers import Rabbit, Swift, rabbit_node, swift_server
from testyard.adapters.amqp import INDEX_QUEUE, STATUS_QUEUE, connection_parameters, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.index import open_index
from testyard.queue import DEAD_LETTERS
from testyard.settings import Broker, Settings, Store, Topology
from testyard.store import PUBLIC_READ

#: Writes settings with this database, and a sweep each so many seconds.
Configure = Callable[..., None]


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """A writer's, of each database; not that of the stage, which only reads."""
    found = open_index(database, writer=True)
    yield found
    found.dispose()


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    with rabbit_node(tmp_path_factory.mktemp("rabbit") / "state") as found:
        yield found


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with swift_server(tmp_path_factory.mktemp("swift") / "state") as found:
        yield found


@pytest.fixture
def store_settings(swift: Swift) -> Store:
    return Store(
        auth_version="1", auth_url=swift.auth_url, user=swift.user, key=SecretStr(swift.key), retries=0
    )


@pytest.fixture
def store(store_settings: Store) -> Iterator[SwiftStore]:
    """A store without results."""
    with SwiftStore(store_settings) as found:
        for container in found.containers():
            for name in found.names(container):
                found.delete(container, name)
        found.ensure_container(CONTAINER, read_acl=PUBLIC_READ)
        yield found


@pytest.fixture
def swift_away(swift: Swift) -> Iterator[None]:
    """The store does not run."""
    swift.stop()
    try:
        yield
    finally:
        swift.start()


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


@pytest.fixture
def configure(
    rabbit: Rabbit, swift: Swift, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Configure:
    """Makes the environment that a function starts in, with this database."""

    def write(database: str, sweep_interval: int = 1) -> None:
        for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
            monkeypatch.delenv(name)
        config = tmp_path / "settings.toml"
        contexts = list(settings.topology.contexts)
        config.write_text(
            f'[broker]\nurl = "{rabbit.url}"\n[database]\nurl = "{database}"\n'
            f"[index]\nsweep_interval = {sweep_interval}\n"
            f'[store]\nauth_version = "1"\nauth_url = "{swift.auth_url}"\n'
            f'user = "{swift.user}"\nkey = "{swift.key}"\nretries = 0\n'
            f'[topology]\nreleases = ["noble"]\narchitectures = ["amd64"]\ncontexts = {contexts}\n'
        )
        monkeypatch.setenv("TESTYARD_CONFIG", str(config))

    return write


@pytest.fixture(scope="module")
def hook_forge() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


@pytest.fixture
def yard(
    rabbit: Rabbit,
    store_settings: Store,
    store: SwiftStore,
    hook_forge: ForgeServer,
    database: str,
    tmp_path: Path,
) -> Iterator[Yard]:
    """The work on hooks' deliveries."""
    with yard_with(rabbit, store_settings, store, hook_forge, database, tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def kept_desk(rabbit: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The request function's app, on a database of its own."""
    return Desk(tmp_path_factory.mktemp("desk"), rabbit.url)


@pytest.fixture
def desk(kept_desk: Desk) -> Desk:
    """One that remembers nothing."""
    kept_desk.forget()
    return kept_desk

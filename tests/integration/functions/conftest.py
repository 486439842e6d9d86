# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real RabbitMQ and a real Swift for each module, and an index on each database for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from tests.integration.functions.results import CONTAINER
from tests.servers import Rabbit, Swift, rabbit_node, swift_server
from testyard.adapters.swift import SwiftStore
from testyard.settings import Store
from testyard.store import PUBLIC_READ


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

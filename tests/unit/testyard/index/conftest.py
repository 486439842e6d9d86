# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index of its own for each test, on each database that an index may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine

from tests.postgres import Postgres, postgres_server
from testyard.index import open_index

#: An address of an index without tables, a new one at each call.
NewIndex = Callable[[], str]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_index(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> NewIndex:
    if request.param == "postgresql":
        return postgres.new_schema
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('index')}/index.db"


@pytest.fixture
def database(new_index: NewIndex) -> str:
    return new_index()


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """A writer's engine."""
    found = open_index(database, writer=True)
    yield found
    found.dispose()


@pytest.fixture
def index(engine: Engine) -> Iterator[Connection]:
    """An open transaction."""
    with engine.begin() as connection:
        yield connection


@pytest.fixture(scope="module")
def shared(new_index: NewIndex) -> Iterator[Engine]:
    """An index of all tests in a module: they roll back."""
    found = open_index(new_index(), writer=True)
    yield found
    found.dispose()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index of its own for each test, on each database that an index may be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from tests.conftest import NewIndex
from testyard.index import open_index


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

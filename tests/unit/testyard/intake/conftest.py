# SPDX-License-Identifier: AGPL-3.0-or-later
"""A memory of its own for each test, on each database that it may be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from testyard.index import index_engine
from testyard.intake import create_intake


@pytest.fixture
def memory(database: str) -> Iterator[Engine]:
    """The intake's tables, empty."""
    engine = index_engine(database, writer=True)
    create_intake(engine)
    yield engine
    engine.dispose()

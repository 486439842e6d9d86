# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from testyard.index import open_index


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A writer's engine."""
    found = open_index(f"sqlite:///{tmp_path}/index.db", writer=True)
    yield found
    found.dispose()


@pytest.fixture
def index(engine: Engine) -> Iterator[Connection]:
    """An open transaction."""
    with engine.begin() as connection:
        yield connection

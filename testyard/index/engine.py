# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the index."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from testyard.errors import SettingsError
from testyard.index.schema import metadata


def open_index(url: str, *, writer: bool = False) -> Engine:
    """An engine for the index; a writer's creates missing tables.

    Raises SettingsError if ``url`` is no database URL or its driver is not installed.
    """
    try:
        engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(f"database.url: {error}") from error
    except (ArgumentError, ValueError):
        # the cause may quote the address, and with it the password
        raise SettingsError(
            "database.url: not a database address",
            resolution="Write sqlite:////path/file.db or postgresql+psycopg://user:password@host/name.",
        ) from None
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, writer=writer)
    if writer:
        metadata.create_all(engine)
    return engine


def _prepare_sqlite(engine: Engine, *, writer: bool) -> None:
    # WAL lets pages read while a function writes; a writer takes the lock at BEGIN, so that two
    # writers wait for each other and never fail on an upgrade in mid-transaction
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=20000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def insert_for(dialect: Dialect) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    return postgresql.insert if dialect.name == "postgresql" else sqlite.insert

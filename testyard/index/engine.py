# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the index."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, MetaData, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import ArgumentError, DataError, NoSuchModuleError, SQLAlchemyError

from testyard.errors import ResultError, SettingsError, TestyardError
from testyard.index.schema import metadata

#: PostgreSQL's number of the lock that is held while tables are made; "testyard" in ASCII.
_TABLES_LOCK = 0x7465737479617264

#: How long SQLite's users wait for each other.
_BUSY_SECONDS = 20


def open_index(url: str, *, writer: bool = False) -> Engine:
    """An engine for the index; a writer's creates missing tables.

    Raises SettingsError if ``url`` is no database URL or its driver is not installed, and
    TestyardError if a writer cannot reach the database.
    """
    engine = index_engine(url, writer=writer)
    if writer:
        create_tables(engine)
    return engine


def index_engine(url: str, *, writer: bool = False) -> Engine:
    """An engine that has not reached for its database yet. Raises SettingsError as `open_index`."""
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
    return engine


def create_tables(engine: Engine, tables: MetaData = metadata) -> None:
    """Make tables and indexes that are missing; others may do so at the same time. Raises TestyardError."""
    with index_errors(), engine.begin() as connection:
        # two that look for a table and find none both make it, and one fails: so one after the other.
        # On SQLite a writer's BEGIN sees to that
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_TABLES_LOCK)))
        tables.create_all(connection)
        for table in tables.tables.values():  # of an older version's tables too
            for one in table.indexes:
                one.create(connection, checkfirst=True)


@contextmanager
def index_errors() -> Iterator[None]:
    """Turn the database's errors into ours, without address and values.

    Raises ResultError if the database refuses a value, which no second attempt can change, and
    TestyardError for all else.
    """
    try:
        yield
    except DataError as error:
        raise ResultError(f"index: a value that no column takes: {type(error.orig).__name__}") from error
    except SQLAlchemyError as error:
        raise TestyardError(
            f"index: {type(error).__name__}: {_cause(error)}",
            resolution="See database.url, and whether the database runs and this account may write to it.",
        ) from error


def _cause(error: SQLAlchemyError) -> str:
    # the driver's own first line: SQLAlchemy's text quotes statement and values
    text = str(getattr(error, "orig", None) or "")
    return text.partition("\n")[0] or "see the cause"


def _prepare_sqlite(engine: Engine, *, writer: bool) -> None:
    # WAL lets pages read while a function writes; a writer takes the lock at BEGIN, so that two
    # writers wait for each other and never fail on an upgrade in mid-transaction
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (f"busy_timeout={_BUSY_SECONDS}000", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if writer:
            _use_wal(connection)

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def _use_wal(connection: sqlite3.Connection) -> None:
    # lasts with the file. Of two that change an empty database at once SQLite fails one at once: it
    # does not wait where both hold what the other needs
    give_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return


def insert_for(dialect: Dialect) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    return postgresql.insert if dialect.name == "postgresql" else sqlite.insert

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the index."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from tests.postgres import Postgres
from testyard.errors import SettingsError, TestyardError
from testyard.index import index_errors, open_index, read
from testyard.index.schema import metadata
from testyard.index.write import set_queue_lengths


def test_a_writer_makes_the_tables_and_may_come_again(database: str) -> None:
    for _ in range(2):
        engine = open_index(database, writer=True)
        assert set(inspect(engine).get_table_names()) == set(metadata.tables)
        engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "nosuch://u:s3cret@h/d",
        "mysql://u:s3cret@h/d",
        "postgresql://u:p@h:s3cret/d",
        "postgresql+nosuch://u:s3cret@h/d",
    ],
)
def test_no_database_names_the_key_and_no_secret(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_index(url, writer=True)
    assert caught.value.brief.startswith("database.url: ")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_readers_do_not_wait_for_a_writer(engine: Engine) -> None:
    reader = open_index(engine.url.render_as_string(hide_password=False))
    with engine.begin() as writing:
        set_queue_lengths(writing, [("q", 1, 0)])
        with reader.connect() as reading:
            assert reading.execute(text("SELECT count(*) FROM queue_length")).scalar() == 0
    with reader.connect() as reading:
        assert reading.execute(text("SELECT count(*) FROM queue_length")).scalar() == 1
    reader.dispose()


def test_two_writers_wait_for_each_other(engine: Engine) -> None:
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(30):
                with engine.begin() as connection:
                    set_queue_lengths(connection, [(f"{name}{number}", number, 0)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM queue_length")).scalar() == 120


def test_a_reader_needs_no_more_than_select(postgres: Postgres) -> None:
    url = postgres.new_schema()
    schema = url.rpartition("%3D")[2]
    writer = open_index(url, writer=True)
    with writer.begin() as connection:
        set_queue_lengths(connection, [("q", 1, 0)])
    reader = open_index(postgres.new_reader(schema))
    with reader.connect() as connection:
        assert [row.queue for row in read.queue_lengths(connection)] == ["q"]
        assert read.latest_runs(connection) == ()
    refused = pytest.raises(TestyardError, match="permission denied")
    with refused, index_errors(), reader.begin() as connection:
        set_queue_lengths(connection, [("q", 2, 0)])
    for engine in (reader, writer):
        engine.dispose()


def test_a_writer_without_its_database_is_told_where_to_look(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://u:s3cret@/d?host={tmp_path}"
    with pytest.raises(TestyardError, match=r"^index: OperationalError: ") as caught:
        open_index(url, writer=True)
    assert "database.url" in caught.value.resolution
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(TestyardError, match="unable to open database file"):
        open_index(f"sqlite:///{tmp_path}/nosuch/index.db", writer=True)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the index."""

from __future__ import annotations

import threading
import traceback

import pytest
from sqlalchemy import Engine, inspect, text

from testyard.errors import SettingsError
from testyard.index import open_index
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

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The index function's indexer with a real Swift, on each database."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, func, select

from functions.index.indexer import Indexer
from tests.integration.functions.results import CONTAINER, ID, RESULT_OF, path_of, put, runs
from tests.servers import Swift
from testyard.adapters.swift import SwiftStore
from testyard.errors import ResultError, StoreError, TestyardError
from testyard.index.schema import metadata, subtest
from testyard.index.write import record_run
from testyard.result import write_result_tar
from testyard.settings import Store
from testyard.store import RESULT


def test_a_completion_becomes_one_row(store: SwiftStore, engine: Engine) -> None:
    message = put(store, path_of(1))
    indexer = Indexer(store, engine)
    for _ in range(3):
        indexer.on_completion(message.to_bytes())
    assert indexer.sweep() == 0
    (row,) = runs(engine)
    assert (row.container, row.path, row.request_id, row.version) == (CONTAINER, path_of(1), ID, "1")


def test_the_stored_result_counts_and_not_the_message(store: SwiftStore, engine: Engine) -> None:
    message = replace(put(store, path_of(1)), exitcode=4, testpkg_version="9", requester="somebody")
    Indexer(store, engine).on_completion(message.to_bytes())
    (row,) = runs(engine)
    assert (row.exit_code, row.version, row.requester) == (0, "1", None)


def test_an_archives_run_is_entered_and_a_private_one_is_not(store: SwiftStore, engine: Engine) -> None:
    indexer = Indexer(store, engine)
    for container in (
        f"{CONTAINER}-some-user-first",
        f"private-{CONTAINER}",
        f"private-{CONTAINER}-some-user-x",
    ):
        indexer.on_completion(put(store, path_of(1), container=container).to_bytes())
    assert indexer.sweep() == 0
    assert [row.container for row in runs(engine)] == [f"{CONTAINER}-some-user-first"]


BAD_MESSAGES = [
    b"",
    b"\xff",
    b"[]",
    b"{}",
    json.dumps(
        {"release": "noble", "architecture": "amd64", "package": "demo", "container": CONTAINER}
    ).encode(),
]


def test_a_malformed_message_is_a_result_error(store: SwiftStore, engine: Engine) -> None:
    for body in BAD_MESSAGES:
        with pytest.raises(ResultError):
            Indexer(store, engine).on_completion(body)
    assert runs(engine) == []


NOT_STORED = [
    {"swift_dir": "noble/amd64/d/demo"},
    {"swift_dir": "noble/amd64/d/demo/../../x"},
    {"swift_dir": str(path_of(2))},
    {"container": "autopkgtest-nosuch"},
    {"container": "testyard-claims"},
    {"container": f"{CONTAINER}/noble"},
    {"container": f"../{CONTAINER}"},
]


def test_a_message_of_no_stored_run_is_a_result_error(store: SwiftStore, engine: Engine) -> None:
    message = json.loads(put(store, path_of(1)).to_bytes())
    store.ensure_container("testyard-claims")
    store.put("testyard-claims", path_of(1).file(RESULT), write_result_tar(RESULT_OF))
    for changes in NOT_STORED:
        with pytest.raises(ResultError):
            Indexer(store, engine).on_completion(json.dumps({**message, **changes}).encode())
    assert runs(engine) == []


def test_the_sweep_finds_what_events_missed(store: SwiftStore, engine: Engine) -> None:
    told = put(store, path_of(1))
    for number in (2, 3):
        put(store, path_of(number, "libdemo"))
    put(store, path_of(4), container=f"{CONTAINER}-some-user-first")
    put(store, path_of(5), container=f"private-{CONTAINER}")
    store.put(CONTAINER, path_of(6).file("log.gz"), b"a run that is not stored whole")
    indexer = Indexer(store, engine)
    indexer.on_completion(told.to_bytes())
    assert indexer.sweep() == 3
    assert indexer.sweep() == 0
    assert Indexer(store, engine).sweep() == 0
    assert sorted(row.run_id[13:15] for row in runs(engine)) == ["01", "02", "03", "04"]


def test_what_cannot_be_read_does_not_stop_the_sweep(
    store: SwiftStore, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        b"",
        b"no tar",
        write_result_tar(RESULT_OF)[:600],
        write_result_tar(replace(RESULT_OF, exit_code=10**30)),
    ]
    for number, data in enumerate(bad):
        put(store, path_of(number, "alpha"), data=data)
    store.put(CONTAINER, f"odd/{RESULT}", b"x")
    store.put(CONTAINER, f"noble/amd64/x/demo/20260105_101501@/{RESULT}", write_result_tar(RESULT_OF))
    store.put(CONTAINER, f"noble/amd64/d/demo/20269999_999999@/{RESULT}", write_result_tar(RESULT_OF))
    put(store, path_of(9, "zeta"))
    indexer = Indexer(store, engine)
    assert indexer.sweep() == 1
    assert [row.source for row in runs(engine)] == ["zeta"]
    told = [record.message for record in caplog.records if record.message.startswith("not entered: ")]
    assert len(told) == len(bad) + 3
    caplog.clear()
    assert indexer.sweep() == 0
    assert caplog.records == []  # each is told once


@pytest.mark.parametrize(
    "testinfo",
    [
        {"custom_environment": ["ADT_TEST_TRIGGERS=\ud800/1"]},
        {"nproc": float("inf"), "custom_environment": ["A=1"]},
        {"custom_environment": "x", "cpu_model": {"a": [1]}},
        {"custom_environment": ["ADT_TEST_TRIGGERS=a\0/1", "A=\0"], "nproc": "\0", "virt_server": ["\0"]},
        {"custom_environment": ["A=" + "x" * 10**6], "cpu_model": "x" * 10**6},
    ],
)
def test_odd_test_information_does_not_keep_a_run_out(
    store: SwiftStore, engine: Engine, testinfo: dict[str, object]
) -> None:
    put(store, path_of(1), data=write_result_tar(replace(RESULT_OF, testinfo=testinfo)))
    assert Indexer(store, engine).sweep() == 1
    assert len(runs(engine)) == 1


class Hasty(SwiftStore):
    """Loses what it has listed, once: as when a store's servers do not agree yet."""

    lost = False

    def names(
        self, container: str, *, prefix: str = "", delimiter: str = "", marker: str = ""
    ) -> Sequence[str]:
        found = super().names(container, prefix=prefix, delimiter=delimiter, marker=marker)
        if not self.lost:
            self.delete(container, path_of(1).file(RESULT))
            self.lost = True
        return found


def test_what_is_listed_and_not_there_is_tried_at_the_next_sweep(
    store: SwiftStore, engine: Engine, store_settings: Store, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, path_of(1))
    with Hasty(store_settings) as hasty:
        indexer = Indexer(hasty, engine)
        assert (indexer.sweep(), hasty.lost, runs(engine)) == (0, True, [])
        assert [record.message for record in caplog.records if "not entered" in record.message] == []
        put(store, path_of(1))
        assert indexer.sweep() == 1


def test_a_sweep_over_more_runs_than_it_compares_at_a_time(store: SwiftStore, engine: Engine) -> None:
    paths = [path_of(number, f"demo{page}") for page in range(9) for number in range(60)]
    for path in paths[::20]:
        put(store, path)
    with engine.begin() as connection:
        for path in paths[::40]:
            record_run(connection, CONTAINER, path, RESULT_OF)
    indexer = Indexer(store, engine, page=4)
    assert indexer.sweep() == 13
    assert sorted(str(row.path) for row in runs(engine)) == sorted(map(str, paths[::20]))


def test_two_indexers_enter_the_same_runs(store: SwiftStore, engine: Engine, store_settings: Store) -> None:
    messages = [put(store, path_of(number)).to_bytes() for number in range(12)]
    barrier = threading.Barrier(2)

    def enter(sweeps: bool) -> None:
        with SwiftStore(store_settings) as own:
            indexer = Indexer(own, engine)
            barrier.wait(20)
            for body in messages:
                indexer.on_completion(body)
            if sweeps:
                assert indexer.sweep() == 0

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(enter, sweeps) for sweeps in (True, False)]:
            done.result(60)
    assert sorted(str(row.path) for row in runs(engine)) == sorted(str(path_of(n)) for n in range(12))
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(subtest)).scalar() == 12


def test_a_store_that_is_away_is_tried_again(swift: Swift, store: SwiftStore, engine: Engine) -> None:
    message, indexer = put(store, path_of(1)), Indexer(store, engine)
    swift.kill()
    try:
        with pytest.raises(StoreError):
            indexer.on_completion(message.to_bytes())
        with pytest.raises(StoreError):
            indexer.sweep()
    finally:
        swift.start()
    assert indexer.sweep() == 1


def test_an_index_that_is_away_is_tried_again(store: SwiftStore, engine: Engine) -> None:
    message, indexer = put(store, path_of(1)), Indexer(store, engine)
    metadata.drop_all(engine)
    with pytest.raises(TestyardError, match=r"^index: ") as caught:
        indexer.on_completion(message.to_bytes())
    assert not isinstance(caught.value, ResultError)
    metadata.create_all(engine)
    indexer.on_completion(message.to_bytes())
    assert len(runs(engine)) == 1

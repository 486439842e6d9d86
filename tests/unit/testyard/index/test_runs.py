# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs: written, and found by each question."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine

from testyard.errors import ResultError
from testyard.index import SubtestRow, read
from testyard.index.write import record_run, set_queue_lengths
from testyard.result import Result
from testyard.run import Outcome, Phase, PhaseTime, RunId
from testyard.store import RunPath

RESULT = Result(
    exit_code=2,
    source="demo",
    version="1.2-3",
    duration=61,
    testinfo={
        "virt_server": "unshare",
        "nproc": "2",
        "cpu_flags": "fpu vme",
        "custom_environment": ["A=1", "ADT_TEST_TRIGGERS=a1/1 b2/2", "B=2"],
    },
    requester="me",
    summary="ok                   PASS\nfl                   FLAKY exit status 1\n",
    request_id="6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d",
    phases=(PhaseTime(Phase.WAIT, 10.0, 1.5), PhaseTime(Phase.TEST, 12.0, 2.5, "ok")),
    worker={"worker": "w1"},
)
CONTAINER = "autopkgtest-noble"


def path(
    run_id: str = "20260105_120000_abcde@",
    *,
    release: str = "noble",
    arch: str = "amd64",
    source: str = "demo",
) -> RunPath:
    return RunPath(release, arch, source, RunId(run_id))


def test_a_run_comes_back_whole(index: Connection) -> None:
    assert record_run(index, CONTAINER, path(), RESULT)
    (row,) = read.find_runs(index, str(RESULT.request_id))
    assert (row.container, row.path) == (CONTAINER, path())
    assert (row.version, row.duration, row.exit_code, row.requester) == ("1.2-3", 61, 2, "me")
    assert row.triggers == ("a1/1", "b2/2")
    assert row.env == "A=1,B=2"
    assert row.completed == path().run_id.time.timestamp()
    assert row.phases == RESULT.phases
    assert row.facts == {"virt_server": "unshare", "nproc": "2", "worker": "w1"}
    assert (row.outcome, bool(row.explanation)) == (Outcome.PASS, True)
    assert row.subtests == (
        SubtestRow("ok", "PASS", "", 2.5),
        SubtestRow("fl", "FLAKY", "exit status 1", None),
    )


def test_again_changes_nothing(index: Connection) -> None:
    assert record_run(index, CONTAINER, path(), RESULT)
    before = read.find_runs(index, path().run_id.text)
    for _ in range(3):
        assert not record_run(index, CONTAINER, path(), replace(RESULT, version="other", summary="x  PASS\n"))
    assert read.find_runs(index, path().run_id.text) == before
    assert len(read.latest_runs(index)) == 1


def test_the_same_id_in_another_place_is_another_run(index: Connection) -> None:
    places = [path(), path(arch="arm64"), path(release="jammy"), path(source="other")]
    assert all(record_run(index, CONTAINER, place, RESULT) for place in places)
    assert record_run(index, "autopkgtest-noble-me-one", path(), replace(RESULT, summary="one  PASS\n"))
    runs = read.find_runs(index, path().run_id.text)
    assert len(runs) == 5
    assert sorted(len(row.subtests) for row in runs) == [1, 2, 2, 2, 2]


def test_an_id_without_a_time_is_refused(index: Connection) -> None:
    with pytest.raises(ResultError, match="no valid time"):
        record_run(index, CONTAINER, path("20269905_120000_abcde@"), RESULT)


def test_the_largest_numbers_fit(index: Connection) -> None:
    assert record_run(index, CONTAINER, path(), replace(RESULT, exit_code=255, duration=2**31 - 1))


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d", 2),
        ("20260105_120000_abcde@", 2),
        ("noble/amd64/d/demo/20260105_120000_abcde@", 1),
        ("noble/amd64/d/demo/20260105_120000_abcde@/", 1),
        ("jammy/amd64/d/demo/20260105_120000_abcde@", 0),
        ("20260105_120000", 0),
        ("demo", 0),
        ("", 0),
        ("/", 0),
        ("%", 0),
    ],
)
def test_references(index: Connection, reference: str, found: int) -> None:
    record_run(index, CONTAINER, path(), RESULT)
    record_run(index, CONTAINER, path(arch="arm64"), RESULT)
    assert len(read.find_runs(index, reference)) == found


def fill(index: Connection) -> None:
    for day in range(1, 6):
        for arch in ("amd64", "arm64"):
            record_run(index, CONTAINER, path(f"2026010{day}_000000_abcde@", arch=arch), RESULT)
    record_run(index, "autopkgtest-jammy", path("20260101_000000_abcde@", release="jammy"), RESULT)
    record_run(index, CONTAINER, path("20260109_000000_abcde@", source="other"), RESULT)


def test_latest_runs_are_newest_first(index: Connection) -> None:
    fill(index)
    runs = read.latest_runs(index, limit=3)
    assert [(row.source, row.run_id[:8]) for row in runs] == [
        ("other", "20260109"),
        ("demo", "20260105"),
        ("demo", "20260105"),
    ]


def test_a_packages_runs(index: Connection) -> None:
    fill(index)
    assert len(read.package_runs(index, "demo")) == 11
    assert len(read.package_runs(index, "demo", release="noble", architecture="arm64")) == 5
    newest = read.package_runs(index, "demo", release="noble", limit=1)
    assert [row.run_id[:8] for row in newest] == ["20260105"]
    assert read.package_runs(index, "nosuch") == ()


def test_the_matrix_has_the_newest_of_each(index: Connection) -> None:
    fill(index)
    assert [
        (row.release, row.architecture, row.run_id[:8]) for row in read.package_matrix(index, "demo")
    ] == [
        ("jammy", "amd64", "20260101"),
        ("noble", "amd64", "20260105"),
        ("noble", "arm64", "20260105"),
    ]


def test_what_the_sweep_asks(index: Connection) -> None:
    fill(index)
    known = [str(row.path) for row in read.latest_runs(index) if row.container == CONTAINER]
    assert len(known) == 11
    new = ["noble/amd64/d/demo/20260109_000000_abcde@", "noble/i386/o/other/20260109_000000_abcde@", "odd"]
    assert read.missing_runs(index, CONTAINER, [*known, *new]) == tuple(new)
    assert read.missing_runs(index, "autopkgtest-nosuch", known[:1]) == tuple(known[:1])
    assert read.missing_runs(index, CONTAINER, []) == ()


def test_queue_lengths_are_replaced(index: Connection) -> None:
    set_queue_lengths(index, [("b", 1, 0), ("a", 5, 2)])
    set_queue_lengths(index, [("b", 0, 1)])
    assert [(row.queue, row.messages, row.consumers) for row in read.queue_lengths(index)] == [
        ("a", 5, 2),
        ("b", 0, 1),
    ]
    assert all(row.updated > 1.7e9 for row in read.queue_lengths(index))


def test_a_failed_transaction_leaves_nothing(engine: Engine) -> None:
    def fail() -> None:
        with engine.begin() as connection:
            assert record_run(connection, CONTAINER, path(), RESULT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with engine.connect() as connection:
        assert read.latest_runs(connection) == ()

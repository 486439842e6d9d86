# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run ids, outcomes and phases."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from testyard.errors import ResultError
from testyard.run import EXIT_CODES, Outcome, Phase, PhaseTime, RunId, explain, outcome_of

NOON = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)


def test_the_id_is_time_and_digest() -> None:
    digest = hashlib.sha1(b"gzip\n{}" + b"amd64" + b"noble").hexdigest()[:5]
    assert str(RunId.make(NOON, b"gzip\n{}", "noble", "amd64")) == f"20260105_120000_{digest}@"


def test_the_time_is_utc_whatever_the_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=9)))
    assert RunId.make(there, b"", "noble", "amd64") == RunId.make(NOON, b"", "noble", "amd64")
    assert RunId.make(there, b"", "noble", "amd64").time == NOON


@pytest.mark.parametrize("part", ["body", "release", "architecture"])
def test_equal_times_differ_by_request(part: str) -> None:
    one = {"body": b"a", "release": "r", "architecture": "x"}
    other = {**one, part: b"b" if part == "body" else "z"}
    assert RunId.make(NOON, **one) != RunId.make(NOON, **other)  # type: ignore[arg-type]


def test_ids_order_as_time_does() -> None:
    texts = ["20140321_130412@", "20140321_130412_00000@", "20140321_130412_fffff@", "20260105_120000_00000@"]
    assert [str(run_id) for run_id in sorted(map(RunId, reversed(texts)))] == texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260105_120000",
        "20260105_120000_abcde",
        "20260105_120000_ABCDE@",
        "20260105_120000_abcd@",
        "20260105-120000_abcde@",
        "20260105_120000_abcde@\n",
        "../../etc/passwd@",
        "٢٠٢٦٠١٠٥_١٢٠٠٠٠@",
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ResultError, match="is not YYYYMMDD"):
        RunId(text)


@pytest.mark.parametrize("text", ["20261305_120000_abcde@", "20260105_250000@", "00000105_120000@"])
def test_an_id_without_a_time(text: str) -> None:
    with pytest.raises(ResultError, match="no valid time"):
        _ = RunId(text).time


def test_every_exit_code_is_explained() -> None:
    for code in EXIT_CODES:
        assert explain(code)
        assert not explain(code).endswith(".")
    assert {outcome_of(code) for code in EXIT_CODES} == set(Outcome) - {Outcome.OTHERFAIL}


@pytest.mark.parametrize("code", [1, 3, 7, 255, -9])
def test_other_exit_codes(code: int) -> None:
    assert outcome_of(code) is Outcome.OTHERFAIL
    assert str(code) in explain(code)


@pytest.mark.parametrize(
    "phase",
    [
        PhaseTime(Phase.WAIT, 0.0),
        PhaseTime(Phase.TEST, 12.5, 3.25, "smoke"),
        PhaseTime(Phase.UPLOAD, 1e9, 0.0),
    ],
)
def test_a_phase_both_ways(phase: PhaseTime) -> None:
    assert PhaseTime.from_json(phase.to_json()) == phase


def test_labels() -> None:
    assert PhaseTime(Phase.TEST, 1.0, None, "smoke").label == "test smoke"
    assert PhaseTime(Phase.BUILD, 1.0).label == "build"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"phase": "build"},
        {"phase": "nosuch", "started": 1},
        {"phase": "build", "started": "x"},
        {"phase": "build", "started": None},
        {"phase": "build", "started": float("nan")},
        {"phase": "build", "started": float("inf")},
        {"phase": "build", "started": 10**400},
        {"phase": "build", "started": -1},
        {"phase": "build", "started": 1e12},
        {"phase": "build", "started": 1, "seconds": "x"},
        {"phase": "build", "started": 1, "seconds": 10**400},
        {"phase": ["build"], "started": 1},
    ],
)
def test_what_is_no_phase(value: Any) -> None:
    with pytest.raises(ResultError, match="phase"):
        PhaseTime.from_json(value)

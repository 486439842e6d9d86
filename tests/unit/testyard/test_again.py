# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs that are worth another try, and what they were asked for."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from testyard.errors import RequestError
from testyard.event import Event, EventKind
from testyard.index.read import find_runs
from testyard.index.write import apply_event, record_run
from testyard.intake.again import wish_again
from testyard.intake.engine import create_intake
from testyard.intake.schema import asked
from testyard.intake.selection import Choice, Kind, chosen
from testyard.queue import QueueName
from testyard.request import make_request, new_request_id
from testyard.result import Result
from testyard.run import RunId
from testyard.store import RunPath

REFERENCE = "migration-reference/0"


def record(engine: Engine, source: str, exit_code: int, trigger: str, *, days: float, **more: Any) -> RunPath:
    """Enter a run that ended so many days ago."""
    moment = datetime.fromtimestamp(time.time() - days * 86400, UTC)
    path = RunPath(
        "noble", more.pop("architecture", "amd64"), source, RunId(f"{moment:%Y%m%d_%H%M%S}_abcde@")
    )
    environment = [f"ADT_TEST_TRIGGERS={trigger}"]
    result = Result(exit_code=exit_code, source=source, testinfo={"custom_environment": environment}, **more)
    with engine.begin() as connection:
        assert record_run(connection, "autopkgtest-noble", path, result)
    return path


def found(engine: Engine, **choice: Any) -> list[str]:
    with engine.connect() as connection:
        return [f"{row.source} {row.triggers[0]}" for row in chosen(connection, Choice(**choice))]


def test_regressions_passed_without_their_trigger(engine: Engine) -> None:
    record(engine, "good", 0, REFERENCE, days=9)
    record(engine, "good", 4, "glibc/2", days=2)
    record(engine, "bad", 4, REFERENCE, days=9)
    record(engine, "bad", 4, "glibc/2", days=2)
    record(engine, "fresh", 0, "older/1", days=8)  # no reference run: an earlier pass counts
    record(engine, "fresh", 4, "glibc/2", days=2)
    record(engine, "never", 4, "glibc/2", days=2)
    record(engine, "mended", 4, "glibc/2", days=3)
    record(engine, "mended", 0, "glibc/2", days=2)
    record(engine, "infra", 16, "glibc/2", days=2)
    assert found(engine, kind=Kind.REGRESSION) == ["fresh glibc/2", "good glibc/2"]
    assert found(engine, kind=Kind.TMPFAIL) == ["infra glibc/2"]
    assert found(engine, kind=Kind.FAIL) == [
        "bad glibc/2",
        f"bad {REFERENCE}",
        "fresh glibc/2",
        "good glibc/2",
        "never glibc/2",
    ]


def test_a_choice_is_narrowed(engine: Engine) -> None:
    for name, trigger, days in (("one", "glibc/2", 1), ("two", "glibc/3", 5), ("six", "perl/1", 30)):
        record(engine, name, 4, trigger, days=days)
    record(engine, "one", 4, "glibc/2", days=1, architecture="arm64")
    fail = {"kind": Kind.FAIL}
    assert found(engine, **fail, youngest=3, oldest=10) == ["two glibc/3"]
    assert found(engine, **fail, triggers=["glibc"], architectures=["amd64"]) == [
        "one glibc/2",
        "two glibc/3",
    ]
    assert found(engine, **fail, triggers=["glibc/3"]) == ["two glibc/3"]
    assert found(engine, **fail, packages=["s*"]) == ["six perl/1"]
    assert found(engine, **fail, releases=["jammy"]) == []
    record(engine, "gate", 4, "perl/1", days=1)
    assert found(engine, **fail, blocked_by=["gate"]) == ["gate perl/1", "six perl/1"]


def wish(engine: Engine, path: RunPath) -> Any:
    create_intake(engine)
    with engine.connect() as connection:
        (run,) = find_runs(connection, str(path))
        return wish_again(connection, connection, run)


def test_a_body_that_came_by_a_door_is_best(engine: Engine) -> None:
    create_intake(engine)
    request_id = new_request_id()
    path = record(engine, "gzip", 4, "gzip/1", days=1, request_id=request_id)
    body = make_request(
        "gzip",
        {"triggers": ["gzip/1"], "env": ["API_TOKEN=secret-one"], "uuid": request_id, "requester": "x"},
    ).body()
    values = {"package": "gzip", "fingerprint": "f", "owner": "o", "created": 1.0}
    with engine.begin() as connection:
        connection.execute(
            asked.insert().values(request_id=request_id, queue="debci-huge-noble-amd64", body=body, **values)
        )
    made = wish(engine, path)
    assert made.queue == QueueName("huge", "noble", "amd64")
    assert made.parameters == {"triggers": ["gzip/1"], "env": ["API_TOKEN=secret-one"]}


@pytest.mark.parametrize(("env", "problem"), [(["A=1"], ""), (["API_TOKEN=***"], "it had secrets")])
def test_else_what_its_events_told(engine: Engine, env: list[str], problem: str) -> None:
    request_id = new_request_id()
    path = record(engine, "gzip", 4, "gzip/1", days=1, request_id=request_id)
    told = {"parameters": {"triggers": ["gzip/1"], "env": env, "ppas": ["me/this"], "uuid": request_id}}
    with engine.begin() as connection:
        apply_event(
            connection,
            Event(EventKind.ACCEPTED, request_id, "debci-ppa-noble-amd64", "gzip", data=told),
        )
    if problem:
        with pytest.raises(RequestError, match=problem):
            wish(engine, path)
        return
    made = wish(engine, path)
    assert str(made.queue) == "debci-ppa-noble-amd64"
    assert made.parameters == {"triggers": ["gzip/1"], "env": env, "ppas": ["me/this"]}


def test_what_was_urgent_is_asked_for_as_usual(engine: Engine) -> None:
    request_id = new_request_id()
    path = record(engine, "gzip", 4, "gzip/1", days=1, request_id=request_id)
    told = {"parameters": {"triggers": ["gzip/1"], "ppas": ["me/this"], "uuid": request_id}}
    with engine.begin() as connection:
        apply_event(
            connection,
            Event(EventKind.ACCEPTED, request_id, "debci-urgent-noble-amd64", "gzip", data=told),
        )
    assert wish(engine, path).queue == QueueName("ppa", "noble", "amd64")


def test_else_what_its_result_tells(engine: Engine) -> None:
    line = (
        "autopkgtest --apt-pocket=proposed --env=A=1 --env=ADT_TEST_TRIGGERS=gzip/1 --testname=smoke gzip "
        "-- unshare --release=noble --arch=amd64"
    )
    path = record(engine, "gzip", 4, "gzip/1", days=1, reproduce=line)
    assert wish(engine, path).parameters == {
        "triggers": ["gzip/1"],
        "env": ["A=1"],
        "testname": "smoke",
        "all-proposed": "1",
    }
    other = record(engine, "gzip", 4, "gzip/1", days=2, reproduce=line.replace(" gzip ", " https://x/y.git "))
    with pytest.raises(RequestError, match="of a repository"):
        wish(engine, other)

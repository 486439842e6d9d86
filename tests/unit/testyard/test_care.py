# SPDX-License-Identifier: AGPL-3.0-or-later
"""What waits in vain."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from testyard.event import Event, EventKind
from testyard.index.write import apply_event
from testyard.intake.care import useless
from testyard.intake.engine import create_intake
from testyard.intake.schema import asked
from testyard.request import TestRequest, new_request_id

QUEUE = "debci-noble-amd64"


def waits(engine: Engine, when: float, *, queue: str = QUEUE, subject: str | None = None, **more: Any) -> str:
    """Enter a request that waits; with a subject, one that came through a door."""
    create_intake(engine)
    request_id = new_request_id()
    parameters = {"triggers": ["glibc/2"], **more, "uuid": request_id, "submit-time": str(when)}
    event = Event(EventKind.ACCEPTED, request_id, queue, "gzip", time=when, data={"parameters": parameters})
    with engine.begin() as connection:
        apply_event(connection, event)
        if subject is not None:
            values = {"package": "gzip", "fingerprint": "f", "owner": "o", "body": b"", "created": when}
            connection.execute(
                asked.insert().values(request_id=request_id, queue=queue, subject=subject, **values)
            )
    return request_id


def found(engine: Engine, archives: Any = None) -> dict[str, str]:
    with engine.connect() as connection:
        return {one.row.request_id: one.reason for one in useless(connection, connection, archives)}


def test_the_older_of_two_that_are_the_same_stays(engine: Engine) -> None:
    first = waits(engine, 10)
    second = waits(engine, 20)
    waits(engine, 30, queue="debci-noble-arm64")
    waits(engine, 40, triggers=["glibc/3"])
    waits(engine, 50, subject="")  # through a door, so by force
    waits(engine, 60, env=["API_TOKEN=***"])
    waits(engine, 70, env=["API_TOKEN=***"])  # may be another
    assert found(engine) == {second: f"the same waits already: {first}"}


def test_older_pushes_are_superseded(engine: Engine) -> None:
    old = [waits(engine, 10 + step, subject="github/o/p#1@a1", testname=f"t{step}") for step in range(2)]
    waits(engine, 10, subject="github/o/p#2@a1", testname="t0")
    new = [waits(engine, 30 + step, subject="github/o/p#1@b2", testname=f"t{step}") for step in range(2)]
    assert found(engine) == {
        one: f"a newer push is asked for: {newer}" for one, newer in zip(old, new, strict=True)
    }


def test_what_is_asked_for_later_of_the_same_commit_supersedes_nothing(engine: Engine) -> None:
    waits(engine, 10, subject="github/o/p#1@a1", env=["SANITIZER=asan"])
    waits(engine, 70, subject="github/o/p#1@a1", env=["SANITIZER=ubsan"])
    for number, commit in enumerate(("a1", "b2")):  # each push to a branch is tested
        waits(engine, 100 + 60 * number, subject=f"github/o/p#refs/heads/main@{commit}", env=[f"A={number}"])
    assert found(engine) == {}


class Archives:
    """Has no glibc/2 any more."""

    def gone(self, request: TestRequest, release: str) -> str:
        assert release == "noble"
        return "glibc/2" if "glibc/2" in request.triggers else ""


def test_triggers_that_are_gone(engine: Engine) -> None:
    gone = waits(engine, 10)
    waits(engine, 20, triggers=["glibc/3"])
    assert found(engine) == {}
    assert found(engine, Archives()) == {gone: "glibc/2 is not published any more"}

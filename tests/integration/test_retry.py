# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard retry`` picks runs from the index and asks for them again, as slowly as it is told to."""

from __future__ import annotations

import json
import time
import uuid

from typer.testing import CliRunner

from tests.integration.caring import cli
from tests.integration.yard import Yard
from testyard.cli.app import app
from testyard.event import Event, EventKind
from testyard.index import create_tables, index_engine
from testyard.index.write import apply_event, record_run
from testyard.request import parse_body
from testyard.result import Result
from testyard.run import RunId
from testyard.store import RunPath


def test_runs_are_picked_and_asked_for_again(yard: Yard) -> None:
    database = f"sqlite:///{yard.folder}/index.db"
    yard.settings["database"] = {"url": database}
    engine = index_engine(database, writer=True)
    create_tables(engine)
    runs = (("gzip", 4, "glibc/2"), ("gawk", 4, "glibc/2"), ("grep", 4, "perl/1"), ("gzip", 0, "glibc/1"))
    with engine.begin() as connection:
        for number, (source, code, trigger) in enumerate(runs):
            moment = time.strftime("%Y%m%d_%H%M%S", time.gmtime(time.time() - 3600 - number))
            path = RunPath("sample", yard.architecture, source, RunId(f"{moment}_abcde@"))
            environment = {"custom_environment": [f"ADT_TEST_TRIGGERS={trigger}"]}
            result = Result(exit_code=code, source=source, testinfo=environment)
            assert record_run(connection, "autopkgtest-sample", path, result)
    engine.dispose()
    fitting = ("--state", "fail", "--package", "g[az]*", "--trigger", "glibc", "-s", "sample")
    shown = json.loads(cli(yard, "retry", *fitting, "--dry-run", "--json"))["requests"]
    assert [(one["package"], one["parameters"]["triggers"]) for one in shown] == [
        ("gawk", ["glibc/2"]),
        ("gzip", ["glibc/2"]),
    ]
    assert yard.waiting() == 0
    begun = time.monotonic()
    asked = json.loads(cli(yard, "retry", *fitting, "--rate", "60", "--json"))["requests"]
    assert time.monotonic() - begun >= 1.0
    assert [one["standing"] for one in asked] == ["accepted", "accepted"]
    yard.wait(lambda: yard.waiting() == 2, "both wait")
    bodies = [yard.channel.basic_get(str(yard.queue), auto_ack=True)[2] for _ in asked]
    found = [(request.package, request.uuid) for request in map(parse_body, bodies)]
    assert found == [(one["package"], one["request_id"]) for one in asked]
    again = json.loads(cli(yard, "retry", *fitting, "--json"))["requests"]
    assert {one["standing"] for one in again} == {"already queued"}


def test_a_request_is_named_by_the_beginning_of_its_id(yard: Yard) -> None:
    database = f"sqlite:///{yard.folder}/index.db"
    yard.settings["database"] = {"url": database}
    engine = index_engine(database, writer=True)
    create_tables(engine)
    request_id, container = str(uuid.uuid4()), "autopkgtest-sample"
    path = RunPath("sample", yard.architecture, "gzip", RunId("20260105_120000_abcde@"))
    result = Result(exit_code=4, source="gzip", request_id=request_id)
    with engine.begin() as connection:
        assert record_run(connection, container, path, result)
        stored = {"container": container, "path": str(path), "exit_code": 4}
        for kind, data in ((EventKind.TAKEN, {}), (EventKind.STORED, stored)):
            apply_event(connection, Event(kind, request_id, str(yard.queue), "gzip", data=data))
    engine.dispose()
    (shown,) = json.loads(cli(yard, "retry", request_id[:8], "--dry-run", "--json"))["requests"]
    assert shown["run"] == str(path)


def test_a_wrong_kind_is_no_folder() -> None:
    result = CliRunner().invoke(app, ["retry", "--state", "fails"])
    assert (result.exit_code, "'fails' is none of regression, fail, tmpfail" in result.stderr) == (2, True)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What fails for a temporary reason is tried again; what kills its workers is given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import System, running_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("attempts") / "state"
    with running_system(folder, {"testbed": "null", "attempts": 2, "retry_pause": 1, "deaths": 2}) as running:
        yield running


def test_a_temporary_failure_is_tried_again(system: System, lasting: Path) -> None:
    count = lasting / "count"
    request_id = system.request("ty-moody", "--env", f"TY_COUNT={count}")
    system.wait(lambda: system.get(f"/runs/{request_id}.json").is_success, seconds=60, what="a result")
    (run,) = system.get(f"/runs/{request_id}.json").json()["runs"]
    assert run["outcome"] == "pass"
    assert count.read_text() == "2\n"
    assert run["worker"]["attempts"] == "2"
    assert "attempt 1 of 2 failed: " in system.cli("log", run["run_id"])
    assert len(system.stored_results()) == 1
    assert system.get(f"/requests/{request_id}.json").json()["attempt"] == 2
    assert "Attempts" in system.get(f"/runs/{run['request_id']}").text


def test_in_the_end_it_is_the_testbeds_failure_and_the_rule_is_named(system: System) -> None:
    run = system.run_of("ty-tbfail")
    assert (run["outcome"], run["worker"]["rule"], run["worker"]["attempts"]) == ("tmpfail", "testbed", "2")
    assert "testbed" in system.get(f"/runs/{run['request_id']}").text


def test_a_request_whose_workers_die_is_given_up(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=60")
    for _ in range(2):
        system.wait(lambda: _phase(system, request_id) == "test", seconds=60, what="the test runs")
        assert system.kill("worker")
        system.wait(lambda: _phase(system, request_id) != "test", seconds=60, what="it is taken again")
    system.wait(lambda: system.get(f"/runs/{request_id}.json").is_success, seconds=60, what="a result")
    (run,) = system.get(f"/runs/{request_id}.json").json()["runs"]
    assert run["outcome"] == "tmpfail"
    assert "2 workers died while they ran it" in system.cli("log", run["run_id"])


def _phase(system: System, request_id: str) -> str:
    phases = system.get(f"/requests/{request_id}.json").json().get("phases") or [{}]
    return str(phases[-1].get("phase", ""))


def test_what_cannot_work_until_somebody_mends_it_is_not_tried_again(tmp_path: Path) -> None:
    settings = {"testbed": "unshare", "attempts": 3, "retry_pause": 600}
    with running_system(tmp_path / "state", settings, releases=("nosuchrelease",)) as system:
        run = system.run_of("gzip", "--trigger", "gzip/1")
        assert (run["outcome"], "attempts" in run["worker"]) == ("tmpfail", False)
        assert "knows no archive of release nosuchrelease" in run["worker"]["cause"]
        assert "nothing of the triggers was installed" in run["worker"]["note"]

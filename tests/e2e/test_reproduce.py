# SPDX-License-Identifier: AGPL-3.0-or-later
"""A run that a developer runs again, from its id or from its page's address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system import PACKAGES, System, running_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("again") / "state", {"testbed": "null"}) as running:
        yield running


def _again(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As on another machine: no settings, no instance; in the folder with the package's sources."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    return subprocess.run(
        [sys.executable, "-m", "testyard", "reproduce", *arguments],
        env={**clean, "TESTYARD_STATE": "/nonexistent", "NO_PROXY": "*"},
        cwd=PACKAGES,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("package", "code"), [("ty-pass", 0), ("ty-fail", 4)])
def test_it_ends_as_the_run_did(system: System, package: str, code: int) -> None:
    run = system.run_of(package, "--env", "WORDS=two words", "--trigger", "gzip/1.0")
    page = run["urls"]["page"]
    refused = _again(page)
    assert (refused.returncode, "--testbed: needed" in refused.stderr) == (2, True), refused.stderr
    done = _again(page, "--testbed", "null")
    assert done.returncode == code, done.stderr
    assert f"autopkgtest ended with {code}" in done.stderr
    assert "as the run did" in done.stderr
    told = json.loads(_again(f"{page}.json", "--testbed", "null", "--json").stdout)
    assert "--env=WORDS=two words" in told["command"]
    assert "--env=ADT_TEST_TRIGGERS=gzip/1.0" in told["command"]
    assert str(PACKAGES) not in told["line"]


def test_secret_values_are_not_in_the_result(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    run = system.run_of("ty-pass", "--env", "API_TOKEN=hunter2hunter2", "--env", "DB_PASSWORD=two words")
    page = run["urls"]["page"]
    assert not [word for word in ("hunter2", "two words") if word in run["worker"]["reproduce"]]
    done = _again(page, "--testbed", "null")
    assert done.returncode == 0, done.stderr
    assert "export API_TOKEN=… and add --env API_TOKEN" in " ".join(done.stderr.split())
    refused = _again(page, "--testbed", "null", "--env", "API_TOKEN")
    assert (refused.returncode, "API_TOKEN is not set" in refused.stderr) == (2, True), refused.stderr
    monkeypatch.setenv("API_TOKEN", "mine-and-mine")
    given = _again(page, "--testbed", "null", "--env", "API_TOKEN")
    assert given.returncode == 0, given.stderr
    told = " ".join(given.stderr.split())
    # our line has it masked; autopkgtest's own begins its log
    assert ("--env=API_TOKEN=***" in told, "--env=API_TOKEN=mine-and-mine" in told) == (True, True)
    assert ("value of API_TOKEN" in told, "value of DB_PASSWORD" in told) == (False, True)


def test_the_command_stands_where_people_look(system: System) -> None:
    run = system.run_of("ty-pass")
    line = run["worker"]["reproduce"]
    assert line.startswith("autopkgtest --timeout-short=300 ")
    assert line.endswith(" --no-built-binaries ty-pass/ -- null")
    assert f"testyard reproduce {run['run_id']}" in system.cli("show", run["run_id"])
    page = system.get(f"/runs/{run['request_id']}").text
    assert line in page
    assert f"testyard reproduce {run['urls']['page']}" in page
    dry = system.cli("reproduce", run["run_id"], "--dry-run", "--testbed", "unshare")
    assert dry.rstrip().endswith(f"-- unshare --release={system.state.release} --arch={system.state.arch}")

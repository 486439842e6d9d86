# SPDX-License-Identifier: AGPL-3.0-or-later
"""``results``, ``show``, ``log`` and ``queue``, with a site's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.testyard.cli.conftest import Command
from tests.unit.testyard.sites import Site

RUN = "20260105_120000_abcde@"


@pytest.fixture
def run(site: Site, settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run that the site has."""
    assert settings_file.exists()  # written first: it clears the environment
    monkeypatch.setenv("TESTYARD_SITE__URL", site.url)
    found = {
        "release": "noble",
        "architecture": "amd64",
        "source": "demo",
        "version": "1.2-3",
        "run_id": RUN,
        "request_id": "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d",
        "triggers": ["a1/1"],
        "exit_code": 4,
        "outcome": "fail",
        "explanation": "at least one test failed",
        "duration": 261,
        "completed": "2026-01-05T12:00:00Z",
        "phases": [
            {"phase": "build", "started": 1.0, "seconds": 100.4, "test": None},
            {"phase": "test", "started": 2.0, "seconds": None, "test": "[red]x[/red]"},
        ],
        "tests": [{"name": "[red]x[/red]", "outcome": "FAIL", "reason": "exit [3]", "seconds": 3.25}],
        "urls": {"page": f"{site.url}/page", "log": f"{site.url}/log", "artifacts": f"{site.url}/artifacts"},
    }
    site.answers["/packages/demo.json"] = (200, {"runs": [found, {**found, "architecture": "arm64"}]})
    site.answers[f"/runs/{RUN}.json"] = (200, {"runs": [found]})
    site.answers["/log"] = (200, "line ä\n".encode())
    return found


def test_show(testyard: Command, run: dict[str, Any]) -> None:
    result = testyard("show", RUN)
    assert result.exit_code == 0
    for words in (
        "demo 1.2-3 on noble amd64: fail",
        "[red]x[/red]",
        "exit [3]",
        "3.2 s",
        "1 min 40 s",
        run["urls"]["log"],
    ):
        assert words in result.stdout, words


def test_show_as_json(testyard: Command, run: dict[str, Any]) -> None:
    assert json.loads(testyard("show", RUN, "--json").stdout) == run


def test_log(testyard: Command, run: dict[str, Any]) -> None:
    assert testyard("log", RUN).stdout == "line ä\n"
    assert json.loads(testyard("log", RUN, "--json").stdout) == {"run_id": run["run_id"], "log": "line ä\n"}


def test_a_log_that_is_gone(testyard: Command, run: dict[str, Any], site: Site) -> None:
    del site.answers["/log"]
    result = testyard("log", RUN)
    assert (result.exit_code, result.stdout) == (1, "")
    assert run["urls"]["log"] in result.stderr


@pytest.mark.parametrize(
    ("options", "architectures"),
    [
        ([], ["amd64", "arm64"]),
        (["--arch", "arm64"], ["arm64"]),
        (["--release", "noble", "--arch", "amd64"], ["amd64"]),
        (["--release", "jammy"], []),
    ],
)
def test_results(
    testyard: Command, run: dict[str, Any], options: list[str], architectures: list[str]
) -> None:
    found = json.loads(testyard("results", "demo", "--json", *options).stdout)
    assert found["source"] == run["source"]
    assert [each["architecture"] for each in found["runs"]] == architectures
    shown = testyard("results", "demo", *options)
    assert shown.exit_code == (0 if architectures else 1)
    assert shown.stdout.count(RUN) == len(architectures)
    assert ("No results for demo" in shown.stderr) is not bool(architectures)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("reference", ["nosuch", "../../etc/passwd", "a b?c#d", ""])
@pytest.mark.parametrize("command", ["show", "log"])
def test_no_such_run(testyard: Command, site: Site, command: str, reference: str) -> None:
    result = testyard(command, reference)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "No such page.\n"
    assert all("?" not in path and " " not in path for path in site.asked)


@pytest.mark.usefixtures("run")
def test_an_empty_list_of_runs(testyard: Command, site: Site) -> None:
    site.answers["/runs/x.json"] = (200, {"runs": []})
    assert testyard("show", "x").stderr == "No run x.\n"


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("command", [["queue"], ["show", "x"], ["results", "x"]])
@pytest.mark.parametrize("answer", [{}, {"runs": 5, "requests": None}])
def test_a_site_of_something_else(
    testyard: Command, site: Site, command: list[str], answer: dict[str, Any]
) -> None:
    for path in ("/running.json", "/runs/x.json", "/packages/x.json"):
        site.answers[path] = (200, answer)
    result = testyard(*command)
    assert result.exit_code == 1
    assert "site.url" in result.stderr


def test_queue(testyard: Command, run: dict[str, Any], site: Site) -> None:
    waiting = {
        "state": "queued",
        "package": "[b]demo",
        "release": "noble",
        "architecture": "amd64",
        "worker": "",
        "request_id": run["request_id"],
        "phases": [],
    }
    running = {**waiting, "state": "running", "worker": "w1", "phases": run["phases"]}
    queues = [
        {"queue": "debci-noble-amd64", "messages": 7},
        {"queue": "debci-huge-noble-amd64", "messages": 0},
    ]
    now = {"requests": [waiting, running], "queues": queues}
    site.answers["/running.json"] = (200, now)
    result = testyard("queue")
    assert result.exit_code == 0
    assert result.stdout.count("[b]demo") == 2
    assert "debci-noble-amd64" in result.stdout
    assert "huge" not in result.stdout
    assert json.loads(testyard("queue", "--json").stdout) == now
    site.answers["/running.json"] = (200, {"requests": [], "queues": []})
    assert "All queues are empty." in testyard("queue").stdout


def test_doctor_as_json(testyard: Command, site: Site, run: dict[str, Any]) -> None:
    site.answers["/health"] = (200, {"healthy": True})
    result = testyard("doctor", "--json")
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1
    assert run["urls"]["page"].startswith(site.url)
    assert {name for name in ("broker", "store", "database", "site") if found[name]["problem"]} == {
        "broker",
        "store",
    }
    assert all(check["mend"] for check in found.values() if check["problem"])


def test_doctor_for_a_person(testyard: Command) -> None:
    result = testyard("doctor")
    assert result.exit_code == 1
    assert "broker: cannot connect" in result.stdout
    assert "→" in result.stdout


def test_doctor_with_an_index_that_cannot_be_opened(
    testyard: Command, settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTYARD_DATABASE__URL", f"sqlite:///{settings_file.parent}/no/such/folder/index.db")
    found = {check["name"]: check for check in json.loads(testyard("doctor", "--json").stdout)["checks"]}
    assert found["database"]["problem"].startswith("index: cannot be opened")
    assert found["database"]["mend"]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""``results``, ``show`` and ``log`` of stored runs, with a site's answers; ``doctor``."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.testyard.cli.conftest import RUN, Command
from tests.unit.testyard.sites import Site


def test_show(testyard: Command, run: dict[str, Any]) -> None:
    result = testyard("show", RUN)
    assert result.exit_code == 0
    for words in (
        "demo 1.2-3 on noble amd64: fail",
        "[red]x[/red]",
        "exit [3]",
        "3.2 s",
        "1 min 40 s",
        "exit code  4",
        run["urls"]["log"],
    ):
        assert words in result.stdout, words


def test_show_as_json(testyard: Command, run: dict[str, Any]) -> None:
    assert json.loads(testyard("show", RUN, "--json").stdout) == run


@pytest.mark.parametrize("cause", [None, "no test of demo is named x\x1b[2J"])
def test_the_cause_and_an_unknown_version(testyard: Command, run: dict[str, Any], cause: str | None) -> None:
    run.update(version="unknown", tests=[], worker={"cause": cause, "note": "seen"} if cause else {})
    text = testyard("show", RUN).stdout
    why = "no test of demo is named x␛[2J" if cause else "at least one test failed"
    assert f"demo on noble amd64: fail ({why})" in text
    assert ("exit code  4: at least one test failed" in text) is not bool(cause)
    assert ("seen\n" in text) is bool(cause)
    assert "unknown" not in testyard("results", "demo").stdout


def test_a_run_with_another_archive_says_so(testyard: Command, run: dict[str, Any]) -> None:
    assert "archive" not in testyard("results", "demo").stdout
    assert "a1/1" in testyard("results", "demo").stdout
    run.update(container="autopkgtest-noble-team-ppa")
    assert re.search(r"1\.2-3 +noble amd64 +team-ppa ", testyard("results", "demo").stdout)
    assert "archive    team-ppa" in testyard("show", RUN).stdout


def test_log(testyard: Command, run: dict[str, Any]) -> None:
    assert testyard("log", RUN).stdout == "line ä\n"
    assert json.loads(testyard("log", RUN, "--json").stdout) == {"run_id": run["run_id"], "log": "line ä\n"}


def test_json_cannot_steer_a_terminal(testyard: Command, run: dict[str, Any], site: Site) -> None:
    hostile = "\x1b[2J \x9b2J \x7f \u202e ä"
    site.answers["/log"] = (200, hostile.encode())
    assert run["urls"]["log"].endswith("/log")
    printed = testyard("log", RUN, "--json").stdout
    assert not {"\x1b", "\x9b", "\x7f", "\u202e"} & set(printed)
    assert json.loads(printed)["log"] == hostile


HOSTILE = "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07\n"


def test_a_log_that_is_piped_is_raw(testyard: Command, run: dict[str, Any], site: Site) -> None:
    site.answers["/log"] = (200, HOSTILE.encode())
    assert run["urls"]["log"].endswith("/log")
    assert testyard("log", RUN).stdout == HOSTILE


@pytest.mark.parametrize(
    ("options", "shown"), [([], "\x1b[31mred\x1b[0m ␛[2J␛]0;title␇\x1b[0m\n"), (["--raw"], HOSTILE)]
)
def test_a_log_on_a_terminal_cannot_steer_it(
    run: dict[str, Any], site: Site, options: list[str], shown: str
) -> None:
    site.answers["/log"] = (200, HOSTILE.encode())
    assert run["urls"]["log"].endswith("/log")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "testyard", "log", RUN, *options]
    assert subprocess.run(command, stdout=theirs, check=False).returncode == 0
    os.close(theirs)
    assert os.read(ours, 4096).decode().replace("\r\n", "\n") == shown
    os.close(ours)


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
    if not architectures:
        assert "There are some on: noble amd64, noble arm64." in shown.stderr


def test_no_results_at_all(testyard: Command, run: dict[str, Any]) -> None:
    assert run["source"] != "other"
    result = testyard("results", "other")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "testyard request other" in result.stderr


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


def test_doctor_as_json(testyard: Command, site: Site, run: dict[str, Any], settings_file: Path) -> None:
    (settings_file.parent / "index.db").touch()
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
    assert "there is no file" in found["database"]["problem"]
    assert found["database"]["mend"]
    assert not (settings_file.parent / "no").exists()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests that have no stored run yet: ``show``, ``log``, ``queue``; and what names a run."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.unit.testyard.cli.conftest import RUN, Command
from tests.unit.testyard.sites import Site

PHASES = [
    {"phase": "testbed", "started": 1.0, "seconds": 9.25, "test": None},
    {"phase": "test", "started": 2.0, "seconds": None, "test": "smoke"},
]


def runs_now(request: dict[str, Any]) -> None:
    request.update(
        state="running",
        taken=request["accepted"] + 10,
        worker="w1",
        phases=PHASES,
        log_tail="one\ntwo\n",
        log_end=8,
    )


def test_show_of_a_queued_request(testyard: Command, waiting: dict[str, Any]) -> None:
    result = testyard("show", waiting["request_id"])
    assert result.exit_code == 0
    for words in (
        "[b]demo on noble amd64: queued (it waits in debci-noble-amd64 for 1 min 1",
        "position   2, 1 request before it",
        f"page       {waiting['url']}",
        f"follow it  testyard follow {waiting['request_id']}",
    ):
        assert words in result.stdout, words
    assert json.loads(testyard("show", waiting["request_id"], "--json").stdout) == waiting


def test_show_of_the_next_request(testyard: Command, waiting: dict[str, Any], site: Site) -> None:
    site.answers["/running.json"] = (200, {"requests": [waiting], "queues": []})
    assert "position   the next one to be taken" in testyard("show", waiting["request_id"]).stdout
    site.answers["/running.json"] = (200, {"requests": [], "queues": []})
    assert "position" not in testyard("show", waiting["request_id"]).stdout


def test_show_of_a_running_request(testyard: Command, waiting: dict[str, Any]) -> None:
    runs_now(waiting)
    text = testyard("show", waiting["request_id"]).stdout
    assert re.search(r"running \(it runs for 1 min \d\d s, now at: test smoke\)", text), text
    for words in (
        "9.2 s",
        "so far",
        "w1",
        "testyard log",
    ):
        assert words in text, words


def test_show_of_a_rejected_request(testyard: Command, waiting: dict[str, Any]) -> None:
    waiting.update(state="rejected", reason="triggers: 'x' is not source/version")
    text = testyard("show", waiting["request_id"]).stdout
    assert "rejected (it was not run: triggers: 'x' is not source/version)" in text
    assert "testyard queue --dead" in text
    assert "follow" not in text


@pytest.mark.parametrize("state", ["queued", "rejected", "done"])
def test_log_of_what_has_none(testyard: Command, waiting: dict[str, Any], state: str) -> None:
    waiting.update(state=state)
    for options in ([], ["--json"], *([["--follow"]] if state != "queued" else [])):
        result = testyard("log", waiting["request_id"], *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("There is no log: it ")
        assert f"testyard show {waiting['request_id']}" in result.stderr


def test_log_of_a_running_request(testyard: Command, waiting: dict[str, Any], site: Site) -> None:
    runs_now(waiting)
    site.answers[f"/requests/{waiting['request_id']}/log"] = (200, b"one\ntwo\n")
    result = testyard("log", waiting["request_id"])
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
    assert f"testyard log --follow {waiting['request_id']}" in result.stderr
    found = json.loads(testyard("log", waiting["request_id"], "--json").stdout)
    assert (found["run_id"], found["state"], found["log"]) == (None, "running", "one\ntwo\n")


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("command", ["show", "log"])
@pytest.mark.parametrize("reference", ["gzip", "../../etc/passwd", "a b?c#d", ""])
def test_what_names_no_run(testyard: Command, site: Site, command: str, reference: str) -> None:
    result = testyard(command, reference)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{reference!r} is no request id, run id, path or address of a run." in result.stderr
    package = "gzip" if reference == "gzip" else "PACKAGE"
    assert f"If it is a package, its runs are listed by: testyard results {package}\n" in result.stderr
    assert all("?" not in path and " " not in path for path in site.asked)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "reference", ["20260105_120001_abcde", "3" * 32, "noble/amd64/d/demo/20250105_120000_abcde@"]
)
def test_an_unknown_run_or_request(testyard: Command, reference: str, site: Site) -> None:
    result = testyard("show", reference)
    assert result.exit_code == 1
    assert f"is known to {site.url}." in result.stderr
    assert "package" not in result.stderr


@pytest.mark.parametrize(
    "form",
    [
        RUN.removesuffix("@"),
        f"noble/amd64/d/demo/{RUN.removesuffix('@')}",
        f"noble/amd64/d/demo/{RUN}/",
        f"SITE/packages/demo/noble/amd64/{RUN}",
        f"SITE/packages/demo/noble/amd64/{RUN.replace('@', '%40')}#L8",
        f"SITE/packages/d/demo/noble/amd64/{RUN}.json?x=1",
        f"/packages/demo/noble/amd64/{RUN}",
        f"SITE/runs/{RUN}",
        "SITE/requests/6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d",
        "6F2F3C8D-0A4F-4A57-9D55-1A015E3C6F1D",
        f"http://store.example/v1/a/autopkgtest-noble/noble/amd64/d/demo/{RUN}/log.gz",
    ],
)
def test_forms_of_a_run(
    testyard: Command, run: dict[str, Any], site: Site, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTYARD_STORE__PUBLIC_URL", "http://store.example/v1/a")
    known = (RUN, f"noble/amd64/d/demo/{RUN}", run["request_id"], run["request_id"].upper())
    for name in known:
        site.answers[f"/runs/{name}.json"] = (200, {"runs": [run]})
    result = testyard("show", form.replace("SITE", site.url), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == run


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://elsewhere.example/runs/x", "is no address of this site"),
        ("SITE/packages/demo", "is the address of no run"),
        ("SITE/packages/demo/noble/amd64/x@", "is the address of no run"),
        ("SITE/", "is the address of no run"),
    ],
)
def test_addresses_of_no_run(testyard: Command, site: Site, address: str, words: str) -> None:
    result = testyard("show", address.replace("SITE", site.url))
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_queue(testyard: Command, waiting: dict[str, Any], site: Site) -> None:
    running = {**waiting}
    runs_now(running)
    now = {**site.answers["/running.json"][1], "requests": [waiting, running]}
    site.answers["/running.json"] = (200, now)
    result = testyard("queue")
    assert result.exit_code == 0
    assert result.stdout.count("[b]demo") == 2
    assert all(
        words in result.stdout for words in ("queued", "test", "w1", "debci-noble-amd64", "no worker takes")
    )
    assert "huge" not in result.stdout
    assert json.loads(testyard("queue", "--json").stdout) == now
    site.answers["/running.json"] = (200, {"requests": [], "queues": []})
    assert "All queues are empty." in testyard("queue").stdout


def test_follow_of_what_has_ended(testyard: Command, run: dict[str, Any], waiting: dict[str, Any]) -> None:
    result = testyard("follow", RUN, "--json")
    assert (result.exit_code, json.loads(result.stdout)["run"]) == (4, run)
    assert "demo 1.2-3 on noble amd64: fail" in result.stderr
    waiting.update(state="rejected", reason="env: 'x'")
    result = testyard("follow", waiting["request_id"])
    assert (result.exit_code, result.stderr) == (1, "request: env: 'x'\n")


def log_answer(request: dict[str, Any], *texts: str, over: bool = False, attempt: int = 1) -> dict[str, Any]:
    """As the site tells of a running log; places are of no use here."""
    pieces = [{"text": text, "start": 0, "end": 0, "left_out": 0, "attempt": attempt} for text in texts]
    return {"request": request, "attempt": attempt, "offset": len(pieces), "over": over, "pieces": pieces}


def test_follow_needs_the_site_alone(testyard: Command, waiting: dict[str, Any], site: Site) -> None:
    runs_now(waiting)
    request_id, end = waiting["request_id"], {**waiting, "state": "done"}
    first = f"/requests/{request_id}/log.json?attempt=0&offset=0&wait=2"
    second = f"/requests/{request_id}/log.json?attempt=1&offset=2&state=running&wait=2"
    site.answers[first] = (200, log_answer(waiting, "one\ntw", "o\n"))
    site.answers[second] = (200, log_answer(end, "three\n", over=True))
    site.answers[f"/runs/{request_id}.json"] = site.answers[f"/runs/{RUN}.json"]
    site.later = {f"/runs/{request_id}.json": 1}
    result = testyard("follow", request_id)
    assert result.exit_code == 4
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert [line for line in lines if line in ("one", "two", "three")] == ["one", "two", "three"]
    assert "■ testbed 9.2 s" in lines
    assert "demo 1.2-3 on noble amd64: fail" in result.stdout


def test_a_running_log_is_followed_to_its_end(testyard: Command, waiting: dict[str, Any], site: Site) -> None:
    runs_now(waiting)
    request_id, end = waiting["request_id"], {**waiting, "state": "done"}
    path = f"/requests/{request_id}/log.json"
    site.answers[f"{path}?attempt=0&offset=0&wait=2"] = (200, log_answer(waiting, "one\ntw"))
    anew = log_answer(waiting, "again\n", attempt=2)
    site.answers[f"{path}?attempt=1&offset=1&state=running&wait=2"] = (200, anew)
    site.answers[f"{path}?attempt=2&offset=1&state=running&wait=2"] = (
        200,
        log_answer(end, over=True, attempt=2),
    )
    wanted = "one\ntw\n… the log begins anew: the next attempt …\nagain\n"
    assert testyard("log", "--follow", request_id).stdout == wanted
    assert json.loads(testyard("log", "-f", "--json", request_id).stdout)["log"] == wanted


def test_the_beginning_of_an_id_is_enough(testyard: Command, waiting: dict[str, Any], site: Site) -> None:
    site.answers["/requests/0a4f5e3c.json"] = (200, waiting)
    assert waiting["request_id"] in testyard("show", "0A4F5E3C").stdout
    missing = testyard("show", "0a4f5e")
    assert (missing.exit_code, "Give more of the id" in missing.stderr) == (1, True)

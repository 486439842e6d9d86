# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line with a real RabbitMQ."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.integration.brokers import (
    ID,
    LETTERS,
    NOBLE,
    OURS,
    QUEUES,
    channel_to,
    park_all,
    wait_for,
    waiting,
)
from tests.servers import Rabbit
from tests.unit.testyard.sites import serving
from testyard.adapters.amqp import INDEX_QUEUE, STATUS_QUEUE
from testyard.cli.app import app
from testyard.event import EVENTS_EXCHANGE, Event, EventKind
from testyard.index import open_index
from testyard.intake.audit import Action, deeds
from testyard.queue import DEAD_LETTERS
from testyard.request import parse_body


@pytest.fixture
def run(broker: Rabbit, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command with this broker and no other settings."""
    for name in [name for name in os.environ if name.startswith("TESTYARD_")]:
        monkeypatch.delenv(name)
    config = broker.state.path / "cli.toml"
    config.write_text(
        f'[broker]\nurl = "{broker.url}"\n[site]\nurl = "http://127.0.0.1:1"\n'
        '[topology]\nreleases = ["noble"]\narchitectures = ["amd64", "arm64"]\ncontexts = ["ubuntu", "ppa"]\n'
    )
    monkeypatch.setenv("TESTYARD_CONFIG", str(config))

    def invoke(*arguments: str) -> Result:
        result: Result = CliRunner().invoke(app, list(arguments))
        assert "Traceback" not in result.output
        assert broker.state.secrets["broker_password"] not in result.output
        return result

    return invoke


def test_broker_setup(broker: Rabbit, run: Callable[..., Result]) -> None:
    with channel_to(broker.url) as channel:
        for name in OURS:
            channel.queue_delete(name)
    names = [str(queue) for queue in QUEUES]
    assert run("broker", "setup").stdout.split() == names
    assert json.loads(run("broker", "setup", "--json").stdout) == {"queues": names}
    assert [waiting(broker, name) for name in OURS] == [0] * len(OURS)


def test_request(broker: Rabbit, run: Callable[..., Result]) -> None:
    result = run("request", "demo", "--trigger", "alpha/1", "--env", "A=1", "--all-proposed", "--json")
    assert result.exit_code == 0
    accepted = json.loads(result.stdout)["requests"]
    assert [one["queue"] for one in accepted] == ["debci-noble-amd64", "debci-noble-arm64"]
    for one in accepted:
        with channel_to(broker.url) as channel:
            _method, properties, body = channel.basic_get(one["queue"], auto_ack=True)
            told = channel.basic_get(STATUS_QUEUE, auto_ack=True)[2]
        assert body is not None
        assert told is not None
        request, event = parse_body(body), Event.from_bytes(told)
        assert (request.package, request.triggers, request.env, request.all_proposed) == (
            "demo",
            ("alpha/1",),
            ("A=1",),
            True,
        )
        assert properties is not None
        assert {request.uuid, properties.message_id, event.request_id} == {one["request_id"]}
        assert (event.kind, event.data["parameters"]) == (EventKind.ACCEPTED, request.parameters)
        assert one["url"].endswith(one["request_id"])


def test_the_same_is_answered_with_its_id_where_there_is_a_database(
    broker: Rabbit, run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTYARD_DATABASE__URL", f"sqlite:///{tmp_path}/index.db")
    monkeypatch.setenv("SUDO_USER", "jane")
    options = ("-s", "noble", "-a", "amd64", "--trigger", "alpha/1")
    first = json.loads(run("request", "demo", "other", *options, "--json").stdout)["requests"]
    assert [(one["package"], one["standing"]) for one in first] == [
        ("demo", "accepted"),
        ("other", "accepted"),
    ]
    result = run("request", "demo", *options)
    assert f"{first[0]['request_id']} waits already in debci-noble-amd64" in result.stdout
    again = json.loads(run("request", "demo", *options, "--force", "--json").stdout)["requests"]
    assert again[0]["request_id"] != first[0]["request_id"]
    assert waiting(broker, "debci-noble-amd64") == 3
    with channel_to(broker.url) as channel:
        body = channel.basic_get("debci-noble-amd64", auto_ack=True)[2]
    assert body is not None
    assert (parse_body(body).requester, parse_body(body).uuid) == ("jane", first[0]["request_id"])
    with open_index(f"sqlite:///{tmp_path}/index.db").connect() as connection:
        kinds = [(deed.action, deed.owner) for _, deed in deeds(connection)]
    assert kinds == [
        (Action.ACCEPTED, "operator/jane"),
        (Action.FOUND, "operator/jane"),
        (Action.ACCEPTED, "operator/jane"),
        (Action.ACCEPTED, "operator/jane"),
    ]


def test_options_choose_the_queue_and_are_in_the_body(broker: Rabbit, run: Callable[..., Result]) -> None:
    one = ("-s", "noble", "-a", "amd64")
    assert "'upstream' is not configured" in run("request", "x", *one, "--test-git", "https://h/x.git").stderr
    assert "'huge' is not configured" in run("request", "x", *one, "--bulk").stderr
    assert "--bulk: means" in run("request", "x", *one, "--bulk", "--context", "ppa").stderr
    assert "--test-git: " in run("request", "x", *one, "--test-git", "file:///etc").stderr
    assert "--readable-by: " in run("request", "x", *one, "--readable-by", "").stderr
    assert waiting(broker, "debci-noble-amd64") == 0
    more = ("--readable-by", "jane", "--swiftuser", "store", "--requester", "joe", "--context", "ubuntu")
    assert run("request", "x", *one, "--build-git", "https://h/x.git#b", *more).exit_code == 0
    with channel_to(broker.url) as channel:
        body = channel.basic_get("debci-noble-amd64", auto_ack=True)[2]
    assert body is not None
    request = parse_body(body)
    assert (request.build_git, request.readable_by, request.swiftuser, request.requester) == (
        "https://h/x.git#b",
        ("jane",),
        "store",
        "joe",
    )


def test_request_for_a_person(broker: Rabbit, run: Callable[..., Result]) -> None:
    lines = run("request", "demo", "--ppa", "some-user/first", "--arch", "arm64").stdout.splitlines()
    assert lines[0].endswith(" waits in debci-ppa-noble-arm64")
    assert len(lines[0]) <= 80
    assert waiting(broker, "debci-ppa-noble-arm64") == 1


def test_what_was_accepted_is_told_when_the_next_fails(broker: Rabbit, run: Callable[..., Result]) -> None:
    with channel_to(broker.url) as channel:
        channel.queue_delete("debci-noble-arm64")
    result = run("request", "demo", "--json")
    assert result.exit_code == 1
    assert [one["queue"] for one in json.loads(result.stdout)["requests"]] == ["debci-noble-amd64"]
    assert "no queue debci-noble-arm64" in result.stderr
    assert waiting(broker, "debci-noble-amd64") == 1


def test_a_request_is_accepted_though_nobody_can_be_told(broker: Rabbit, run: Callable[..., Result]) -> None:
    with channel_to(broker.url) as channel:
        channel.exchange_delete(EVENTS_EXCHANGE)
    result = run("request", "demo", "--arch", "amd64", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert waiting(broker, "debci-noble-amd64") == 1


def test_queue_dead(broker: Rabbit, run: Callable[..., Result]) -> None:
    assert run("queue", "--dead").stdout == "No dead letters.\n"
    park_all(broker.url)
    shown = run("queue", "--dead").stdout
    assert all(words in shown for words in ("not UTF-8", "no source package", INDEX_QUEUE))
    found = json.loads(run("queue", "--dead", "--json").stdout)["dead"]
    assert [(one["queue"], one["reason"], one["request_id"]) for one in found] == [
        (letter.queue, letter.reason, letter.request_id) for letter in LETTERS
    ]
    wait_for(lambda: waiting(broker, DEAD_LETTERS) == 3)


def told(state: str, **more: object) -> dict[str, object]:
    """What the site tells of a running log that is over."""
    request = {
        "state": state, "package": "demo", "worker": "w1", "taken": 1.0, "phases": [], "reason": "", **more,
    }  # fmt: skip
    piece = {"text": "a line of the log\n", "start": 0, "end": 18, "left_out": 0, "attempt": 1}
    return {"request": request, "attempt": 1, "offset": 18, "over": True, "pieces": [piece]}


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("neutral", 0), ("fail", 4), ("tmpfail", 4)])
def test_follow(
    broker: Rabbit, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, outcome: str, code: int
) -> None:
    found = {
        "source": "demo",
        "version": "1",
        "release": "noble",
        "architecture": "amd64",
        "outcome": outcome,
        "explanation": "as it went",
        "tests": [],
        "phases": [],
        "run_id": "20260105_101500_0a1b2@",
        "request_id": ID,
        "triggers": [],
        "exit_code": 0,
        "urls": {"page": "p", "log": "l", "artifacts": "a"},
    }
    with serving() as site:
        monkeypatch.setenv("TESTYARD_SITE__URL", site.url)
        site.otherwise = (200, {"runs": [found], **told("done")})
        result = run("request", "demo", "--arch", "amd64", "--follow", "--json")
    assert result.exit_code == code
    answer = json.loads(result.stdout)
    assert (answer["queue"], answer["run"]) == (str(NOBLE), found)
    assert "a line of the log" in result.stderr
    assert "as it went" in result.stderr


@pytest.mark.parametrize(
    ("state", "package", "words"),
    [
        ("rejected", "demo", "request: ppas: not here"),
        ("cancelled", "demo", "request: it was cancelled: ppas: not here"),
        ("done", "private-test", "only the people whom it names may see its result"),
    ],
)
def test_follow_what_has_no_result_to_show(
    broker: Rabbit,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    package: str,
    words: str,
) -> None:
    with serving() as site:
        monkeypatch.setenv("TESTYARD_SITE__URL", site.url)
        site.otherwise = (200, told(state, package=package, reason="ppas: not here"))
        result = run("request", "demo", "--arch", "amd64", "--follow")
    assert waiting(broker, str(NOBLE)) == 1
    assert result.exit_code == 1
    assert words in result.stderr

# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard local`` without a running instance: messages and exit codes."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testyard.local.state import LocalState
from testyard.settings import load_settings

local = pytest.importorskip("testyard.cli.local")


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("TESTYARD_STATE", raising=False)
    return CliRunner()


@pytest.mark.parametrize(
    "command", [["status"], ["down"], ["logs"], ["status", "--json"], ["down", "--json"]]
)
def test_no_instance_is_exit_code_3(runner: CliRunner, tmp_path: Path, command: list[str]) -> None:
    result = runner.invoke(local.app, [*command, "--state", str(tmp_path / "none")])
    assert result.exit_code == 3
    assert result.stdout == ""
    assert f"There is no instance in {tmp_path}/none." in result.stderr
    assert f"testyard local up --state {tmp_path}/none" in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_explained(runner: CliRunner, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = runner.invoke(local.app, ["up", "--state", str(tmp_path / "s"), "--port", f"web={port}"])
    assert result.exit_code == 1
    assert f"web: port {port}" in result.stderr
    assert "--port web=N" in result.stderr
    assert "Traceback" not in result.output


def test_a_stopped_instance_is_exit_code_3(runner: CliRunner, tmp_path: Path) -> None:
    state = LocalState.load_or_create(tmp_path / "s")
    environment = {"TESTYARD_STATE": str(state.path)}
    result = runner.invoke(local.app, ["status"], env=environment)
    assert result.exit_code == 3
    assert "not started" in result.stdout
    (state.log_dir / "web.log").write_text("one\ntwo\n")
    assert runner.invoke(local.app, ["logs", "web", "-n", "1"], env=environment).stdout == "two\n"
    assert "web         two" in runner.invoke(local.app, ["logs"], env=environment).stdout
    assert json.loads(runner.invoke(local.app, ["logs", "web", "--json"], env=environment).stdout) == {
        "lines": [{"part": "web", "line": "one"}, {"part": "web", "line": "two"}]
    }
    assert runner.invoke(local.app, ["logs", "nobody"], env=environment).exit_code == 2
    ended = runner.invoke(local.app, ["down"], env=environment)
    assert (ended.exit_code, ended.stdout) == (3, "")
    assert f"Not running: {state.path}. Start it: testyard local up\n" in ended.stderr
    ended = runner.invoke(local.app, ["down", "--json"], env=environment)
    assert json.loads(ended.stdout) == {"state": str(state.path), "ended": []}


def test_the_null_testbed_warns(runner: CliRunner, tmp_path: Path) -> None:
    state = LocalState.load_or_create(tmp_path / "s")
    with socket.create_server(("127.0.0.1", state.ports["web"])):  # so that nothing is started
        result = runner.invoke(local.app, ["up", "--state", str(state.path), "--testbed", "null"])
    assert "unprotected" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "intake.polici=/etc/x"], "intake.polici"),
        (["--set", "notify.rules=5"], "notify.rules"),
        (
            ["--set", "intake.projects=/nonexistent/p.toml"],
            "intake.projects: /nonexistent/p.toml: No such file",
        ),
        (["--set", "intake.policy=/nonexistent/p.toml"], "intake.policy: /nonexistent/p.toml: No such file"),
        (["--set", "slots=2"], "--set slots=2: not SECTION.KEY=VALUE"),
        (["--set", "worker.slots"], "--set worker.slots: not SECTION.KEY=VALUE"),
        (
            ["--set", "broker.url=amqp://x"],
            "those of broker, store, database and site are the instance's own",
        ),
        (["--set", "worker.slots=many"], "--set: worker.slots: must be a whole number"),
        (["--set", "worker.nosuch=1"], "--set: worker.nosuch: no such setting; known: announce, archives, "),
        (["--set", "worker.timeouts.test=soon"], "--set: worker.timeouts.test: must be a whole number"),
        (["--port", "web=x"], "--port web=x: 'x' is no port"),
    ],
)
def test_wrong_choices_are_wrong_usage(
    runner: CliRunner, tmp_path: Path, options: list[str], words: str
) -> None:
    result = runner.invoke(local.app, ["up", "--state", str(tmp_path / "s"), *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert not (tmp_path / "s").exists()


def test_choices_are_kept_and_read_by_every_part(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = LocalState.load_or_create(tmp_path / "s")
    monkeypatch.setenv("TESTYARD_WORKER__SLOTS", "7")
    options = ["worker.slots=3", "worker.timeouts.test=90", "worker.name=a b", 'topology.contexts=["ubuntu"]']
    arguments = [word for option in options for word in ("--set", option)]
    with socket.create_server(("127.0.0.1", state.ports["web"])):  # so that nothing is started
        result = runner.invoke(local.app, ["up", "--state", str(state.path), *arguments])
    assert "TESTYARD_WORKER__SLOTS in the environment: not passed on" in result.stderr
    monkeypatch.delenv("TESTYARD_WORKER__SLOTS")
    again = LocalState.load(state.path)
    assert again is not None
    again.write_settings()
    monkeypatch.setenv("TESTYARD_CONFIG", str(again.settings_file))
    settings = load_settings()
    worker = settings.worker
    assert (worker.slots, worker.timeouts.test, worker.timeouts.short, worker.name) == (3, 90, 300, "a b")
    assert settings.topology.contexts == ("ubuntu",)
    assert settings.topology.releases == (again.release,)

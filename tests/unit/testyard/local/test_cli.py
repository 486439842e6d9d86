# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard local`` without a running instance: messages and exit codes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testyard.local.state import LocalState

local = pytest.importorskip("testyard.cli.local")


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("TESTYARD_STATE", raising=False)
    return CliRunner()


@pytest.mark.parametrize("command", [["status"], ["down"], ["logs"], ["status", "--json"]])
def test_no_instance_is_exit_code_3(runner: CliRunner, tmp_path: Path, command: list[str]) -> None:
    result = runner.invoke(local.app, [*command, "--state", str(tmp_path / "none")])
    assert result.exit_code == 3
    assert "testyard local up" in result.stderr
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
    assert runner.invoke(local.app, ["logs", "nobody"], env=environment).exit_code == 1


def test_the_null_testbed_warns(runner: CliRunner, tmp_path: Path) -> None:
    state = LocalState.load_or_create(tmp_path / "s")
    with socket.create_server(("127.0.0.1", state.ports["web"])):  # so that nothing is started
        result = runner.invoke(local.app, ["up", "--state", str(state.path), "--testbed", "null"])
    assert "unprotected" in result.stderr

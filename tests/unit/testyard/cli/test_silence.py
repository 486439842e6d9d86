# SPDX-License-Identifier: AGPL-3.0-or-later
"""Commands with nothing to talk to, and with servers that take connections and say nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.testyard.cli.conftest import Command
from testyard.cli.doctor import examine
from testyard.settings import load_settings


@pytest.mark.usefixtures("settings_file")
@pytest.mark.parametrize(
    "words", [["queue"], ["request", "gzip"], ["log", "x"], ["doctor"], ["local", "status"]]
)
def test_without_an_instance_every_command_says_how_to_make_one(
    testyard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.delenv("TESTYARD_CONFIG")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    result = testyard(*words)
    text = " ".join((result.stdout + result.stderr).split())
    assert result.exit_code == (1 if words == ["doctor"] else 3)
    assert "There is no instance in" in text
    assert "testyard local up makes one" in text
    assert "Keystone" not in text
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.usefixtures("settings_file")
def test_an_interrupted_command_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        monkeypatch.setenv("TESTYARD_BROKER__URL", f"amqp://u:x@127.0.0.1:{silent.getsockname()[1]}/")
        command = subprocess.Popen(
            # who starts the tests in a shell's background has told them to ignore SIGINT
            ["env", "--default-signal=INT", sys.executable, "-m", "testyard", "queue", "--dead"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (130, "Interrupted.\n")


@pytest.mark.usefixtures("settings_file")
def test_doctor_with_servers_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("TESTYARD_BROKER__URL", f"amqp://u:x@{address}/")
        monkeypatch.setenv("TESTYARD_STORE__AUTH_URL", f"http://{address}/auth/v1.0")
        monkeypatch.setenv("TESTYARD_SITE__URL", f"http://{address}")
        begin, asked = time.monotonic(), list[str]()
        found = {check.name: check.problem for check in examine(load_settings(), asked.append, patience=1)}
        assert time.monotonic() - begin < 20
    assert asked[:2] == ["broker", "store"]
    assert found["broker"] == "broker: no answer (cannot connect)"
    assert found["store"] == "store: cannot list the account: no answer"
    assert "nothing came for 1 s" in found["site"]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What systemd is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from worker.notify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1", "STATUS=ä")
        assert manager.recv(100).decode() == "READY=1\nSTATUS=ä"


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("WATCHDOG=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("WATCHDOG=1")
    assert list(tmp_path.iterdir()) == []

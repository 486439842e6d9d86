# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs: the end of them, and what comes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from testyard.local.logs import follow, tail


def test_tail(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    assert tail(log, 5) == []
    log.write_bytes(b"one\ntwo\nthr\xffee\n")
    assert tail(log, 2) == ["two", "thr\N{REPLACEMENT CHARACTER}ee"]
    assert tail(log, 0) == []


def test_follow_sees_new_lines_across_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("old\n")
    stream = follow({"web": log}, interval=0.01)
    with log.open("a") as file:
        file.write("new\nhal")
    assert next(stream) == ("web", "new")
    with log.open("a") as file:
        file.write("f\n")
    log.rename(tmp_path / "web.log.1")
    log.write_text("after\n")
    assert list(islice(stream, 2)) == [("web", "half"), ("web", "after")]

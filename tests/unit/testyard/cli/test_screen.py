# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ``--follow`` prints of events."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from testyard.cli.follow import Screen
from testyard.cli.runview import seconds_text
from testyard.event import Event, EventKind


def printed(*events: tuple[EventKind, dict[str, Any]]) -> str:
    stream = io.StringIO()
    with Screen(Console(file=stream, width=200, soft_wrap=True)) as screen:
        for kind, data in events:
            screen.show(Event(kind, "id", "debci-noble-amd64", "gzip", data=data))
    return stream.getvalue()


def test_lines_come_whole_and_in_order() -> None:
    pieces = [("one\ntw", 6), ("o\nthree\n", 14)]
    text = printed(*((EventKind.LOG, {"text": text, "end": end}) for text, end in pieces))
    assert [line.strip() for line in text.splitlines() if line.strip()] == ["one", "two", "three"]


def test_a_gap_is_told() -> None:
    text = printed((EventKind.LOG, {"text": "ä\n", "end": 3}), (EventKind.LOG, {"text": "z\n", "end": 10}))
    assert "5 bytes of log are not shown" in text


def test_what_a_test_prints_cannot_steer_the_terminal() -> None:
    text = printed((EventKind.LOG, {"text": "\x1b[2J\x07 [bold]x[/bold] \x9b1m\n", "end": 30}))
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert "[bold]x[/bold]" in text


def test_phases_and_returns() -> None:
    text = printed(
        (EventKind.TAKEN, {"worker": "w1"}),
        (EventKind.PHASE, {"phase": "test", "started": 1.0, "seconds": None, "test": "smoke"}),
        (EventKind.PHASE, {"phase": "test", "started": 1.0, "seconds": 2.34, "test": "smoke"}),
        (EventKind.RETURNED, {"reason": "the worker was stopped"}),
        (EventKind.TAKEN, {"worker": "w2"}),
        (EventKind.LOG, {"text": "again\n", "end": 6}),
        (EventKind.STORED, {}),
    )
    assert text.count("■ test smoke") == 1
    assert "back in the queue: the worker was stopped" in text
    assert "again" in text
    assert "not shown" not in text  # the log begins anew with a new worker


def test_bytes_that_are_no_text_are_no_new_beginning() -> None:
    bad = "\N{REPLACEMENT CHARACTER}" * 9  # 9 bytes in the log, 27 as text
    text = printed(
        (EventKind.LOG, {"text": "one\n", "end": 4}), (EventKind.LOG, {"text": f"{bad}\n", "end": 14})
    )
    assert "anew" not in text
    assert bad in text


def test_the_next_attempt_has_a_log_of_its_own() -> None:
    pieces = [("one\ntw", 6), ("again\n", 6), ("more\n", 11)]
    text = printed(*((EventKind.LOG, {"text": text, "end": end}) for text, end in pieces))
    assert [line.strip() for line in text.splitlines() if line.strip()] == [
        "one",
        "… the log begins anew: the next attempt …",
        "again",
        "more",
    ]


def test_a_watch_that_begins_late_shows_what_was_told_before() -> None:
    stream = io.StringIO()
    phase = {"phase": "apt", "started": 1.0, "seconds": 2.0, "test": None}
    known = {"state": "running", "worker": "w1", "phases": [phase], "log_tail": "one\n", "log_end": 9}
    with Screen(Console(file=stream, width=200, soft_wrap=True)) as screen:
        screen.begin(known)
        for data in ({"text": "one\n", "end": 9}, {"text": "\x1b[1mone\ntwo\n", "end": 13}):
            screen.show(Event(EventKind.LOG, "id", "debci-noble-amd64", "gzip", data=data))
        screen.show(Event(EventKind.PHASE, "id", "debci-noble-amd64", "gzip", data=phase))
    text = stream.getvalue()
    assert [text.count(words) for words in ("one", "two", "■ apt 2.0 s", "not shown")] == [1, 1, 1, 0]


def test_a_stage_comes_before_its_lines_and_times_are_told_once() -> None:
    phase = {"phase": "test", "started": 1.0, "seconds": None, "test": "smoke"}
    lines = "hello\ntestyard [08:32:53]: phase test smoke: 2.3 s\n"
    text = printed(
        (EventKind.PHASE, phase),
        (EventKind.LOG, {"text": lines, "end": len(lines)}),
        (EventKind.PHASE, {**phase, "seconds": 2.3}),
    )
    assert [line.strip() for line in text.splitlines() if line.strip()] == ["■ test smoke", "hello"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0 s"), (9.94, "9.9 s"), (7259.6, "2 h 01 min")]
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text

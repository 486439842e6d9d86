# SPDX-License-Identifier: AGPL-3.0-or-later
"""What ``--follow`` prints of what the site tells."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from testyard.cli.follow import Screen
from testyard.cli.runview import seconds_text

PHASE = {"phase": "test", "started": 1.0, "seconds": None, "test": "smoke"}


def answer(*texts: str, attempt: int = 1, **request: Any) -> dict[str, Any]:
    known = {"state": "running", "worker": "w1", "taken": 5.0, "reason": "", "phases": [], **request}
    return {"request": known, "attempt": attempt, "pieces": [{"text": text} for text in texts]}


def printed(*answers: dict[str, Any]) -> str:
    stream = io.StringIO()
    with Screen(Console(file=stream, width=200, soft_wrap=True)) as screen:
        for each in answers:
            screen.show(each)
        screen.end()
    return stream.getvalue()


def lines(*answers: dict[str, Any]) -> list[str]:
    return [line.strip() for line in printed(*answers).splitlines() if line.strip()]


def test_lines_come_whole_and_in_order() -> None:
    assert lines(answer("one\ntw", "o\n"), answer("three\nfo"), answer("ur")) == [
        "one",
        "two",
        "three",
        "four",
    ]


def test_what_a_test_prints_cannot_steer_the_terminal() -> None:
    text = printed(answer("\x1b[2J\x07 [bold]x[/bold] \x9b1m\n"))
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert "[bold]x[/bold]" in text


def test_of_a_progress_display_the_last_state_is_shown() -> None:
    assert lines(answer("10%\r50%\r"), answer("100%\r\n")) == ["100%"]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    assert "".join(lines(*[answer("x" * 50_000)] * 10)) == "x" * 500_000


def test_stages_returns_and_attempts() -> None:
    text = printed(
        answer(),
        answer("one\n", phases=[PHASE]),
        answer("two\n", phases=[{**PHASE, "seconds": 2.34}]),
        answer(state="queued", reason="the worker was stopped"),
        answer(state="queued", reason="the worker was stopped"),
        answer("again\n", attempt=2, taken=9.0),
    )
    words = ("■ test smoke", "back in the queue: the worker was stopped", "the log begins anew", "again")
    assert [text.count(word) for word in words] == [1, 1, 1, 1]


def test_who_comes_late_sees_the_stages_before_and_all_lines() -> None:
    phase = {"phase": "apt", "started": 1.0, "seconds": 2.0, "test": None}
    assert lines(answer("one\n", phases=[phase])) == ["■ apt 2.0 s", "one"]


def test_times_are_told_once() -> None:
    text = "hello\ntestyard [08:32:53]: phase test smoke: 2.3 s\n"
    assert lines(answer(text, phases=[PHASE])) == ["■ test smoke", "hello"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0 s"), (9.94, "9.9 s"), (7259.6, "2 h 01 min")]
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a log may do to a terminal: colour itself, nothing else."""

from __future__ import annotations

import pytest

from testyard.cli.terminal import safe_line, safe_lines, safe_text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain ä ✓\tx", "plain ä ✓\tx"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("\x1b[2J\x1b[H", "␛[2J␛[H"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x9b2J\x90", "\N{REPLACEMENT CHARACTER}2J\N{REPLACEMENT CHARACTER}"),
        ("10%\r20%\r", "20%"),
        ("a\u202eb", "a\N{REPLACEMENT CHARACTER}b"),
        ("\x1bc\x00\x7f", "␛c␀␡"),
    ],
)
def test_a_line(line: str, shown: str) -> None:
    assert safe_line(line) == shown


def test_a_log_in_pieces() -> None:
    assert list(safe_lines(["one\ntw", "o\n", "\x1b", "[2Jend"])) == ["one", "two", "␛[2Jend"]
    assert len(list(safe_lines(["x" * 70_000, "y" * 70_000]))) == 2, "a flood without line ends is let out"


def test_no_line_end_is_left_in_text() -> None:
    assert safe_text("a\nb\x1b[1m") == "a␊b␛[1m"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Strangers' text made safe for a terminal: it may colour itself, and do nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_COLOUR = re.compile(r"(\x1b\[[0-9;]{0,40}m)")
_RESET = "\x1b[0m"
# as the site shows them: a picture of each control character
_SHOWN = {code: 0x2400 + code for code in range(32) if code != 9} | {0x7F: 0x2421}
_SHOWN |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
# marks that turn the direction of text could show a line as what it is not
_SHOWN |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
#: A longer line is printed in pieces: a flood without line ends must not fill the memory.
_LONGEST = 1 << 16


def safe_text(text: str) -> str:
    """Text without a control character, line ends and colours included: each shows as its picture."""
    return text if text.isprintable() else text.translate(_SHOWN)


def safe_line(line: str) -> str:
    """One line of a log. Colours stay and end with it; of what was overwritten the last state stays."""
    if line.isprintable():
        return line
    parts = _COLOUR.split(line.rstrip("\r").rpartition("\r")[2])
    shown = "".join(part if index % 2 else safe_text(part) for index, part in enumerate(parts))
    return shown + (_RESET if len(parts) > 1 else "")


def safe_lines(pieces: Iterable[str]) -> Iterator[str]:
    """A log that comes in pieces as safe lines, without their ends."""
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from map(safe_line, lines)
        if len(rest) > _LONGEST:
            yield safe_line(rest)
            rest = ""
    if rest:
        yield safe_line(rest)

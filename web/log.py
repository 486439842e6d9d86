# SPDX-License-Identifier: AGPL-3.0-or-later
"""A log cut in sections: one a stage, two a test (its preparation, its output). Pure.

Both forms of autopkgtest's own lines are read: Debian's ``autopkgtest [HH:MM:SS]: …`` and that of
Ubuntu's fork, which puts elapsed seconds (`` 12s ``) before every line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: A longer line is cut on the page; the raw log has all of it.
MAX_LINE = 4000
MAX_TITLE = 200

#: A page shows no more: a line costs 200 bytes of memory and 70 of HTML.
MAX_LINES = 50_000
#: How many lines of the first failing section stand under the verdict.
EXCERPT = 30

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
_CONTROLS = {code: 0x2400 + code for code in range(32) if code != 9} | {0x7F: 0x2421}
# marks that turn the direction of text could show a line as what it is not
_CONTROLS |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_OWN = re.compile(r"^(?: *\d+s )?autopkgtest \[(\d\d):(\d\d):(\d\d)\]: (.*)$")
# a package's last line may lack its end, so an error can begin in mid-line
_ERROR = re.compile(r"autopkgtest \[\d\d:\d\d:\d\d\]: ERROR: |^(?: *\d+s )?badpkg: ")
# the worker's own lines; the phases' times end a log
_WORKER = re.compile(r"^testyard \[\d\d:\d\d:\d\d\]: (phase )?")
_TEST = re.compile(r"test ([^\s:]+): +(.*)$")
_RESULT = re.compile(r"^(?: *\d+s )?(\S+) +(PASS|FAIL|SKIP|FLAKY)(?: |$)")
_BEGIN, _END = "[-----------------------", "-----------------------]"
_RULE = "@@@@@@@@@@@@@@@@@@@@ "


class Stage(StrEnum):
    """What a section is about."""

    START = "start"
    SOURCE = "source"
    BUILD = "build"
    PREPARE = "prepare"
    TEST = "test"
    SUMMARY = "summary"
    TIMES = "times"


class Mark(StrEnum):
    """What a line is: a test's or program's output, autopkgtest's or ours, or one that tells a failure."""

    OUTPUT = ""
    OWN = "own"
    BAD = "bad"


@dataclass(frozen=True)
class Line:
    """One line, without colour codes; ``number`` counts from 1 over the whole log."""

    number: int
    text: str
    mark: Mark = Mark.OUTPUT


@dataclass(frozen=True)
class Section:
    """Lines that belong together. ``seconds`` is None where the log tells no time."""

    title: str
    stage: Stage
    test: str | None
    lines: tuple[Line, ...]
    seconds: int | None
    failed: bool


@dataclass(frozen=True)
class Log:
    """A whole log."""

    sections: tuple[Section, ...]

    @property
    def first_failure(self) -> Section | None:
        """The first section in which something failed."""
        return next((section for section in self.sections if section.failed), None)

    @property
    def excerpt(self) -> tuple[Line, ...]:
        """The end of the first failing section."""
        return self.first_failure.lines[-EXCERPT:] if self.first_failure else ()


def read_log(text: str) -> Log:
    """Cut a log in sections; every line is in exactly one, in order."""
    lines = text.split("\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        lines[-1] = f"… more than {MAX_LINES} lines; the rest is in the raw log …"
    if lines and not lines[-1]:
        lines.pop()
    plain = [_plain_line(line) for line in lines]
    cutter = _Cutter(_ends(plain))
    for index, line in enumerate(plain):
        cutter.take(index, line)
    return Log(cutter.sections())


def plain_text(text: str) -> str:
    """Text as a terminal would leave it: no colour codes, overwritten parts or control characters."""
    return "\n".join(_plain_line(line) for line in text.split("\n"))


def _plain_line(line: str) -> str:
    if len(line) > 50 * MAX_LINE:
        line = f"{line[: 50 * MAX_LINE]}{' ' * 8}"  # don't search megabytes that are cut anyway
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    if "\r" in line:  # a progress display: the last state stays
        line = line.rstrip("\r").rpartition("\r")[2]
    return line if line.isprintable() else line.translate(_CONTROLS)


def _ends(lines: list[str]) -> dict[str, list[int]]:
    ends: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        if line.endswith(_END) and (own := _OWN.match(line)) and (test := _TEST.match(own[4])):
            ends.setdefault(test[1], []).append(index)
    return ends


def _cut_title(title: str) -> str:
    return title if len(title) <= MAX_TITLE else f"{title[:MAX_TITLE]}…"


class _Open:
    """A section while lines are added to it."""

    def __init__(self, stage: Stage, title: str, test: str | None = None) -> None:
        # the name of a test is the package's text: it stands in many places
        self.stage, self.title, self.test = stage, _cut_title(title), test
        self.lines: list[Line] = []
        self.clock: int | None = None
        self.failed = False


class _Cutter:
    """Goes through the lines once."""

    def __init__(self, ends: dict[str, list[int]]) -> None:
        self._test_ends = ends
        self._parts = [_Open(Stage.START, "start")]
        self._body_until = -1

    def take(self, index: int, text: str) -> None:
        # a test's output may hold another autopkgtest's log: nothing in it is read
        mark = Mark.OUTPUT if index < self._body_until else self._read(index, text)
        if len(text) > MAX_LINE:
            text = f"{text[:MAX_LINE]} … (line cut; the raw log has all of it)"
        self._parts[-1].lines.append(Line(index + 1, text, mark))

    def _read(self, index: int, text: str) -> Mark:
        own, ours = _OWN.match(text), _WORKER.match(text)
        if own:
            self._own(index, own)
        if ours:
            self._ours(ours)
            return Mark.OWN
        part = self._parts[-1]
        result = None if own else _RESULT.match(text)
        if (result and result[2] == "FAIL" and result[1] == part.test) or _ERROR.search(text):
            part.failed = True
            return Mark.BAD
        if result and part.stage is Stage.SUMMARY:
            return Mark.BAD if result[2] == "FAIL" else Mark.OWN
        return Mark.OWN if own or (result and result[1] == part.test) else Mark.OUTPUT

    def _own(self, index: int, own: re.Match[str]) -> None:
        self._cut(own[4])
        part = self._parts[-1]
        if part.clock is None:
            part.clock = int(own[1]) * 3600 + int(own[2]) * 60 + int(own[3])
        if part.test and own[4].endswith(_BEGIN):
            later = [end for end in self._test_ends.get(part.test, ()) if end > index]
            self._body_until = later[0] if later else -1

    def _ours(self, line: re.Match[str]) -> None:
        # they are many: at the end of a failing section they would hide what failed
        if line[1] and self._parts[-1].stage is not Stage.TIMES:
            self._parts.append(_Open(Stage.TIMES, "where time went"))

    def _cut(self, message: str) -> None:
        if message.startswith(_RULE):
            title = message.removeprefix(_RULE).strip()
            stage = Stage.SUMMARY if title == "summary" else Stage.SOURCE
            self._parts.append(_Open(stage, title))
        elif message.startswith("build needed"):
            self._parts.append(_Open(Stage.BUILD, "build"))
        elif test := _TEST.match(message):
            self._cut_test(test[1], test[2])

    def _cut_test(self, name: str, message: str) -> None:
        part = self._parts[-1]
        if message == "preparing testbed":
            self._parts.append(_Open(Stage.PREPARE, f"prepare {name}", name))
        elif part.stage is not Stage.TEST or part.test != name:
            self._parts.append(_Open(Stage.TEST, f"test {name}", name))

    def sections(self) -> tuple[Section, ...]:
        clocks = [part.clock for part in self._parts[1:]] + [None]
        return tuple(
            Section(
                part.title, part.stage, part.test, tuple(part.lines), _between(part.clock, after), part.failed
            )
            for part, after in zip(self._parts, clocks, strict=True)
            if part.lines
        )


def _between(start: int | None, end: int | None) -> int | None:
    # the clock has no date: a section never lasts a day, so midnight may lie between
    return None if start is None or end is None else (end - start) % 86400

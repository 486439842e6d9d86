# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a forge is told of a request, in words that no forge takes for anything else.

Names and reasons come from tests, which anybody may have written. Of a private run nothing is told but how
it ended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from testyard.intake.statuses import Shown, Status
from testyard.result import Result, Subtest
from testyard.run import explain
from testyard.secrets import masked_text

#: Tests that a summary names, and characters of a name and of a reason.
_MOST_TESTS = 100
_LONGEST_NAME = 100
_LONGEST_REASON = 200
_READ = 1000
#: Characters of a title: GitHub takes 140 of a status' description.
LONGEST_TITLE = 140

_WORDS = {
    Shown.QUEUED: "waits for a worker",
    Shown.RUNNING: "runs",
    Shown.PASS: "passed",
    Shown.NEUTRAL: "no tests, or all were skipped",
    Shown.FAIL: "failed",
    Shown.TMPFAIL: "the testbed failed; not the package's fault. Ask for it again",
    Shown.ERROR: "autopkgtest failed unexpectedly, or was called wrongly",
    Shown.DENYLISTED: "not run: the package or architecture is excluded",
    Shown.OTHERFAIL: "failed in an unknown way",
    Shown.REJECTED: "not run: the request is wrong",
    Shown.CANCELLED: "cancelled",
    Shown.LOST: "nothing was heard of it for a long time. Ask for it again",
}
#: What a letter of a name could mean in Markdown or HTML.
_SPECIAL = re.compile(r"[^a-zA-Z0-9 ]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


@dataclass(frozen=True)
class Report:
    """``title`` is one line of plain text; ``summary`` is Markdown, or empty. ``url`` may be empty.

    ``failed`` are the tests to point at. ``ended`` is Unix time. ``ref`` is what git calls the commit in the
    project, such as ``refs/pull/7/head``, or empty.
    """

    shown: Shown
    context: str
    commit: str
    request_id: str
    title: str
    summary: str = ""
    url: str = ""
    failed: tuple[Subtest, ...] = ()
    ended: float | None = None
    ref: str = ""


def report_of(status: Status, result: Result | None, *, site: str) -> Report:
    """What to tell of a row; ``result`` once there is one, ``site`` the address of the pages, or empty."""
    if status.private:
        result = None
    return Report(
        shown=status.wanted,
        context=plain(status.context, 200),
        commit=status.commit,
        request_id=status.request_id,
        title=plain(_title(status, result), LONGEST_TITLE),
        summary=_summary(status, result),
        # what could not be asked for has no page
        url=f"{site.rstrip('/')}/requests/{status.request_id}"
        if site and status.details.get("queue")
        else "",
        failed=tuple(each for each in result.subtests if each.outcome == "FAIL")[:50] if result else (),
        ended=status.updated if status.wanted.final else None,
        ref=str(status.place.get("ref") or ""),
    )


def plain(text: str, most: int) -> str:
    """One line without control characters, and without secrets; at most so many characters."""
    # masking takes time with the square of the length: 2.5 ms for this much
    line = _CONTROL.sub(" ", masked_text(text[:_READ])).strip()
    return line if len(line) <= most else line[: most - 1] + "…"


def code(text: str, most: int) -> str:
    """The same for Markdown: as code, in which no forge looks for names of people, links or marks."""
    return f"<code>{_SPECIAL.sub(_entity, plain(text, most))}</code>" if text else ""


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _title(status: Status, result: Result | None) -> str:
    words = _WORDS[status.wanted]
    if status.private:
        return words
    if result is not None:
        return _tests_in_short(result) or explain(result.exit_code)
    exit_code = status.ended.get("exit_code")
    if isinstance(exit_code, int):
        return explain(exit_code)
    reason = _reason(status.ended)
    return f"{words}: {reason}" if reason else words


def _tests_in_short(result: Result) -> str:
    tests = result.subtests
    failed = [test.name for test in tests if test.outcome == "FAIL"]
    if failed:
        return f"{len(failed)} of {len(tests)} tests failed: {', '.join(failed)}"
    passed = sum(test.outcome == "PASS" for test in tests)
    if result.exit_code not in (0, 2) or not passed:
        return ""
    others = len(tests) - passed
    tail = f", {others} skipped or flaky" if others else ""
    return f"{passed} {'test' if passed == 1 else 'tests'} passed{tail}"


def _reason(ended: Mapping[str, object]) -> str:
    return str(ended.get("reason") or "")


def _summary(status: Status, result: Result | None) -> str:
    if status.private:
        return f"A private test: {_WORDS[status.wanted]}."
    package = code(str(status.details.get("package") or ""), _LONGEST_NAME)
    if result is None:
        reason = code(_reason(status.ended), _LONGEST_REASON)
        lead = f"{package}: " if package else ""
        return f"{lead}{_WORDS[status.wanted]}{': ' + reason if reason else ''}."
    version = code(result.version, _LONGEST_NAME)
    lines = [f"{package} {version}: {explain(result.exit_code)}.".strip(), ""]
    tests = result.subtests
    if tests:
        lines += ["| test | result | why |", "|---|---|---|"]
        lines += [_line(test) for test in tests[:_MOST_TESTS]]
    if len(tests) > _MOST_TESTS:
        lines += ["", f"and {len(tests) - _MOST_TESTS} more."]
    return "\n".join(lines)


def _line(test: Subtest) -> str:
    reason = code(test.reason, _LONGEST_REASON)
    return f"| {code(test.name, _LONGEST_NAME)} | {test.outcome} | {reason} |"

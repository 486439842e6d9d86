# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why a run tested nothing: autopkgtest's exit code tells the kind, the end of its log the cause."""

from __future__ import annotations

import re

from testyard.request import TestRequest

#: A longer cause is cut: test code can write what looks like one.
_LONGEST = 300
# the last line of the summary lacks its end there, so no line begins with it
_NO_SUCH_TEST = re.compile(r"autopkgtest \[[\d:]{8}\]: ERROR: .{1,300} has no test matching --test-?name ")
_NO_SOURCE = re.compile(r"Unable to (?:locate|find a source) package (?:for )?(\S+)$", re.MULTILINE)
_BAD_PACKAGE = re.compile(r"^(?: *\d+s )?badpkg: (.+)$", re.MULTILINE)
_ARCHIVE = re.compile(r"^(?: *\d+s )?testyard: (archive \S+ cannot be .+)$", re.MULTILINE)
_ERROR = re.compile(r"autopkgtest \[[\d:]{8}\]: ERROR: (.+)$", re.MULTILINE)


def cause_of(exit_code: int, log_end: str, request: TestRequest, release: str) -> str:
    """The cause in a few words without a full stop; empty if the tests decided, or nothing tells."""
    if exit_code == 8 and request.testname and _NO_SUCH_TEST.search(log_end):
        return f"no test of {request.package} is named {request.testname}"
    if exit_code in (12, 14) and request.package in _NO_SOURCE.findall(log_end):
        return f"there is no source package {request.package} in {release}"
    found: list[str] = []
    if exit_code in (12, 16):
        found = _ARCHIVE.findall(log_end)
    if found:
        return _one_line(found[-1])
    if exit_code in (12, 14):
        found = _BAD_PACKAGE.findall(log_end)
    elif exit_code in (16, 20):
        found = _ERROR.findall(log_end)
    return _one_line(found[-1]) if found else ""


def _one_line(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text).strip()
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What forges are told in words: short, harmless, and nothing of a private run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testyard.intake.report import LONGEST_TITLE, code, plain, report_of
from testyard.intake.statuses import Shown, Status
from testyard.result import Result

SUMMARY = "smoke                PASS\nupgrade              FAIL non-zero exit status 1\n"
DONE = Result(4, "tool", "1.2-3", summary=SUMMARY)


def row(shown: Shown, *, private: bool = False, **ended: object) -> Status:
    details = {"package": "tool", "queue": "debci-noble-amd64", **({"private": True} if private else {})}
    return Status("github", "jane/tool", "c" * 40, "noble/amd64", "1-2-3", {}, details, shown, ended)


def test_of_a_run() -> None:
    report = report_of(row(Shown.FAIL, exit_code=4), DONE, site="https://tests.example.org/")
    assert report.title == "1 of 2 tests failed: upgrade"
    assert report.url == "https://tests.example.org/requests/1-2-3"
    assert [test.name for test in report.failed] == ["upgrade"]
    assert "| <code>smoke</code> | PASS |  |" in report.summary
    never = replace(row(Shown.REJECTED, reason="release: no such"), details={})
    assert report_of(never, None, site="https://tests.example.org/").url == "", "it has no page"
    assert "<code>non&#45;zero exit status 1</code>" in report.summary


@pytest.mark.parametrize(
    ("status", "result", "title"),
    [
        (row(Shown.QUEUED), None, "waits for a worker"),
        (row(Shown.PASS), Result(0, "t", summary="a PASS\n"), "1 test passed"),
        (
            row(Shown.PASS),
            Result(2, "t", summary="a PASS\nb SKIP why\nc PASS\n"),
            "2 tests passed, 1 skipped or flaky",
        ),
        (row(Shown.FAIL, exit_code=4), None, "at least one test failed"),
        (row(Shown.TMPFAIL), Result(16, "t"), "the testbed failed"),
        (row(Shown.CANCELLED, reason="a newer push"), None, "cancelled: a newer push"),
        (
            row(Shown.REJECTED, reason="ppas: \x1b[31mbad\nones"),
            None,
            "not run: the request is wrong: ppas:  [31mbad ones",
        ),
    ],
)
def test_titles(status: Status, result: Result | None, title: str) -> None:
    assert report_of(status, result, site="").title == title


@pytest.mark.parametrize("shown", list(Shown))
def test_of_a_private_run_only_how_it_ended(shown: Shown) -> None:
    status = row(shown, private=True, reason="tool broke", exit_code=4)
    report = report_of(status, DONE, site="https://tests.example.org")
    told = repr(report).replace("jane/tool", "")
    for secret in ("tool", "smoke", "upgrade", "1.2-3", "exit status"):
        assert secret not in told
    assert report.failed == ()


def test_a_summary_names_100_tests() -> None:
    many = "".join(f"t{number} PASS\n" for number in range(1000))
    summary = report_of(row(Shown.PASS), Result(0, "t", summary=many), site="").summary
    assert summary.count("PASS") == 100
    assert summary.endswith("and 900 more.")


def test_secrets_are_masked() -> None:
    assert plain("clone https://jane:hunter22@example.org/x", 200) == "clone https://***@example.org/x"


@given(st.text(max_size=300))
def test_what_tests_say_is_never_markdown_html_or_a_name(text: str) -> None:
    shown = code(text, 80)
    inner = shown.removeprefix("<code>").removesuffix("</code>")
    assert re.fullmatch(r"(?:[a-zA-Z0-9 ]|&#[0-9]+;)*", inner)
    title = plain(text, LONGEST_TITLE)
    assert len(title) <= LONGEST_TITLE
    assert not re.search(r"[\x00-\x1f\x7f\u202e]", title)

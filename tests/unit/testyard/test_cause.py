# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cause of a run that tested nothing, from ends of logs as autopkgtest 5.28 wrote them."""

from __future__ import annotations

import time

import pytest

from testyard.cause import cause_of
from testyard.request import make_request

OWN = "autopkgtest [06:48:30]: "
NO_SUCH_TEST = (
    f"{OWN}build not needed\n"
    f"*                    SKIP no tests in this package{OWN}ERROR: apt-source gzip has no test matching "
    f"--test-name nosuch\n\n{OWN}@@@@@@@@@@@@@@@@@@@@ summary\n"
)
NO_SOURCE = (
    f"{OWN}@@@@@@@@@@@@@@@@@@@@ apt-source gzip\nW: Unable to locate package gzip\nblame: gzip\n"
    f"badpkg: rules extract failed with exit code 1\n{OWN}ERROR: erroneous package: rules extract failed\n"
)
TESTBED = f"{OWN}ERROR: testbed failure: testbed auxverb failed with exit code 255\n"


@pytest.mark.parametrize(
    ("exit_code", "log", "testname", "cause"),
    [
        (8, NO_SUCH_TEST, "nosuch", "no test of gzip is named nosuch"),
        (8, NO_SUCH_TEST, None, ""),
        (8, "nothing\n", "nosuch", ""),
        (0, NO_SUCH_TEST, "nosuch", ""),
        (12, NO_SOURCE, None, "there is no source package gzip in noble"),
        (12, NO_SOURCE.replace("W: ", " 12s E: "), None, "there is no source package gzip in noble"),
        (12, NO_SOURCE.replace("package gzip", "package dep"), None, "rules extract failed with exit code 1"),
        (12, " 14s badpkg: a\x1b[2Jb\n", None, "a [2Jb"),
        (14, f"badpkg: {'x' * 9999}\n", None, f"{'x' * 300}…"),
        (16, TESTBED, None, "testbed failure: testbed auxverb failed with exit code 255"),
        (20, f"{OWN}ERROR: one\n{OWN}ERROR: two\n", None, "two"),
        (
            12,
            "testyard: archive a/b cannot be used: why\nbadpkg: x\n",
            None,
            "archive a/b cannot be used: why",
        ),
        (16, f"testyard: archive a/b cannot be reached\n{TESTBED}", None, "archive a/b cannot be reached"),
        (4, NO_SOURCE + TESTBED, None, ""),
        (16, "", None, ""),
    ],
)
def test_cause(exit_code: int, log: str, testname: str | None, cause: str) -> None:
    request = make_request("gzip", {"testname": testname})
    assert cause_of(exit_code, log, request, "noble") == cause


def test_a_log_that_was_made_to_be_searched_for_long() -> None:
    request = make_request("gzip", {"testname": "smoke"})
    started = time.process_time()
    cause_of(8, "autopkgtest [10:10:10]: ERROR: " * 2000, request, "noble")
    assert (
        time.process_time() - started < 0.1
    )  # 2 ms; 0.27 s while each beginning looked at all that followed

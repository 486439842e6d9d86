# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules for all tests: in CI nothing is skipped."""

from __future__ import annotations

import logging
import os

import pytest

_skipped: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what was skipped."""
    config.stash[_skipped] = []
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its retries would bury a failure's report
    logging.getLogger("swiftclient").setLevel(logging.CRITICAL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Note every skipped test with its reason."""
    report = yield
    if report.skipped:
        item.config.stash[_skipped].append(f"{item.nodeid}: {call.excinfo and call.excinfo.value}")
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failed run."""
    if os.environ.get("CI") and session.config.stash[_skipped] and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which they were."""
    if os.environ.get("CI"):
        for line in config.stash[_skipped]:
            terminalreporter.write_line(f"skipped, which CI must not: {line}", red=True)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules for all tests: in CI nothing is skipped."""

from __future__ import annotations

import logging
import os

import pytest


class SkipsFail:
    """In CI a skipped test is a failed run. The reports come from all processes of pytest-xdist."""

    def __init__(self) -> None:
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note every skipped test with its reason."""
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self._skipped.append(f"{report.nodeid}: {reason}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module may be skipped as a whole."""
        if report.skipped:
            self._skipped.append(f"{report.nodeid}: {report.longrepr}")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail the run."""
        if self._skipped and exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which they were."""
        for line in self._skipped:
            terminalreporter.write_line(f"skipped, which CI must not: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """What holds in every process."""
    if os.environ.get("CI"):
        config.pluginmanager.register(SkipsFail())
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its retries would bury a failure's report
    logging.getLogger("swiftclient").setLevel(logging.CRITICAL)

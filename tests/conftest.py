# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules for all tests: in CI nothing is skipped. And the databases that an index may be."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from tests.postgres import Postgres, postgres_server
from tests.scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler
from testyard.index import open_index

__all__ = ["pytest_collection_modifyitems", "pytest_xdist_make_scheduler"]

#: Makes the address of an index without tables, a new one at each call.
NewIndex = Callable[[], str]


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
    # its 200 ms for each case are a timing test: 216 ms were seen at load 18
    settings.register_profile("testyard", deadline=None)
    settings.load_profile("testyard")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # its retries would bury a failure's report
    logging.getLogger("swiftclient").setLevel(logging.CRITICAL)


@pytest.fixture
def lasting() -> Iterator[Path]:
    """A folder that tests without a testbed can write to, too: each has a /tmp of its own."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of a process."""
    with postgres_server() as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_index(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> NewIndex:
    """A test that asks for this runs on each database."""
    if request.param == "postgresql":
        return postgres.new_schema
    return lambda: f"sqlite:///{tmp_path_factory.mktemp('index')}/index.db"


@pytest.fixture
def database(new_index: NewIndex) -> str:
    """An index of its own."""
    return new_index()


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """A writer's, of `database`."""
    found = open_index(database, writer=True)
    yield found
    found.dispose()

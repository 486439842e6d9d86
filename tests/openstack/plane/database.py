# SPDX-License-Identifier: AGPL-3.0-or-later
"""A private MariaDB, with a unix socket only. SQLite will not do: with ten requests at a time a server
stayed behind in ERROR, as "database is locked"."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.programs import Program, ProgramError, last_lines

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_NOT_INSTALLED = "MariaDB is not installed: scripts/setup test"


class MariaDB:
    """One server on the data in ``data``; its account ``root`` has no password, its socket is private."""

    def __init__(self, data: Path, log: Path) -> None:
        self._data = data
        self._log = log
        # a socket's path may have 107 characters: less than pytest's folders
        self._run = Path(tempfile.mkdtemp(prefix="testyard-sql-"))
        self._socket = self._run / "sql"
        self.program = Program("mariadb", self._argv(), log, environment=_ENVIRONMENT, tied=signal.SIGKILL)

    def create(self) -> None:
        """Make the data folder. Raises ProgramError."""
        self._call(
            "mariadb-install-db", "--no-defaults", f"--user={_account()}", f"--datadir={self._data}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.program.launch()
        try:
            self.program.wait(self._answers)
        except ProgramError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, with all it has written."""
        self.program.stop(60)
        shutil.rmtree(self._run, ignore_errors=True)

    def create_databases(self, names: tuple[str, ...]) -> None:
        """Make empty ones."""
        for name in names:
            self._ask(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")

    def url(self, database: str) -> str:
        """SQLAlchemy's address of a database."""
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self._socket}&charset=utf8mb4"

    def _argv(self) -> list[str]:
        return [
            "mariadbd", "--no-defaults", f"--user={_account()}", f"--datadir={self._data}",
            f"--socket={self._socket}", f"--pid-file={self._run / 'pid'}", "--skip-networking",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--skip-log-bin",
            "--performance-schema=OFF", "--max-connections=400",
        ]  # fmt: skip

    def _answers(self) -> bool:
        return self._client("SELECT 1").returncode == 0

    def _ask(self, statement: str) -> None:
        done = self._client(statement)
        if done.returncode:
            raise ProgramError(f"mariadb: {statement}: {done.stdout}")

    def _client(self, statement: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self._socket}", "--user=root", "--execute", statement],
            env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip

    def _call(self, *argv: str) -> None:
        assert shutil.which("mariadbd", path=_ENVIRONMENT["PATH"]), _NOT_INSTALLED
        with self._log.open("ab") as log:
            done = subprocess.run(
                argv, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            raise ProgramError(f"{argv[0]} ended with {done.returncode}. {last_lines(self._log)}")


def _account() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real PostgreSQL for tests, ended by its own pid:

    with postgres_server() as postgres:
        url = postgres.new_schema()   # an empty index's address, with the password

It listens on a unix socket only. Its data is thrown away with it, so nothing waits for the disk.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL

START_SECONDS = 60.0
_USER = "testyard"
#: Debian's package makes this account; the server refuses to run as root.
_ACCOUNT = "postgres"


class Postgres:
    """One server in one folder; ``start`` after ``stop`` or ``kill`` keeps data and password."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = _programs()
        self.password = secrets.token_urlsafe(16)
        self._schemas = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        assert self._process is not None, "PostgreSQL does not run"
        return self._process.pid

    def create(self) -> None:
        """Make the cluster, with a password that stands in a file of mode 0600 only."""
        password_file = self._folder / "password"
        password_file.touch(0o600)
        password_file.write_text(self.password)
        _give(password_file)
        with self.log.open("ab") as log:
            subprocess.run(
                [
                    self._programs / "initdb", "--pgdata", self._folder / "data", "--username", _USER,
                    "--pwfile", password_file, "--auth", "scram-sha-256", "--encoding", "UTF8",
                    "--locale", "C.UTF-8", "--no-sync", "--no-instructions",
                ],
                check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._how(),
            )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers; fail with its log when it does not."""
        assert self._process is None, "PostgreSQL runs already"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            "max_connections": "200",
            "autovacuum": "off",
        }
        # SIGQUIT when the tests themselves are killed
        argv = ["setpriv", "--pdeathsig", "QUIT", str(self._programs / "postgres")]
        argv += ["-D", str(self._folder / "data")]
        argv += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._how()
            )
        self._wait()

    def stop(self) -> None:
        """SIGINT, PostgreSQL's fast shutdown; nothing when it does not run."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGQUIT, as a crash: no connection ends well. SIGKILL would leave its other processes behind."""
        self._end(signal.SIGQUIT)

    def new_schema(self) -> str:
        """The address of an index without tables that nobody else uses."""
        self._schemas += 1
        name = f"t{self._schemas}"
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return self.url(options=f"-csearch_path={name}")

    def new_reader(self, schema: str) -> str:
        """The address of a schema's tables for an account that may only read them."""
        name = sql.Identifier(f"{schema}_reader")
        password = secrets.token_urlsafe(16)
        with self._connect() as connection:
            for statement in (
                "CREATE ROLE {name} LOGIN PASSWORD {password}",
                "GRANT USAGE ON SCHEMA {schema} TO {name}",
                "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}",
            ):
                connection.execute(
                    sql.SQL(statement).format(
                        name=name, password=sql.Literal(password), schema=sql.Identifier(schema)
                    )
                )
        return _address(self._folder, f"{schema}_reader", password, options=f"-csearch_path={schema}")

    def url(self, **query: str) -> str:
        """SQLAlchemy's address of its database ``postgres``, with the password."""
        return _address(self._folder, _USER, self.password, **query)

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self._folder), user=_USER, password=self.password, dbname="postgres", autocommit=True
        )

    def _wait(self) -> None:
        assert self._process is not None
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise AssertionError(f"PostgreSQL: {error}\n{self.log.read_text()[-3000:]}") from error
                time.sleep(0.02)
            else:
                return

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _how(self) -> dict[str, Any]:
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        account = {} if os.geteuid() else {"user": _ACCOUNT, "group": _ACCOUNT, "extra_groups": []}
        return {"env": environment, "cwd": "/", **account}


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server of its own (1 s to start: share it)."""
    # not in pytest's folders: these are closed to the server's account when root runs the tests
    folder = Path(tempfile.mkdtemp(prefix="testyard-pg-"))
    _give(folder)
    server = Postgres(folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.kill()  # nobody needs its data: 1 s less than `stop` on a busy machine
        shutil.rmtree(folder)


def _address(folder: Path, user: str, password: str, **query: str) -> str:
    url = URL.create(
        "postgresql+psycopg", user, password, database="postgres", query={"host": str(folder), **query}
    )
    return url.render_as_string(hide_password=False)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    assert found, "PostgreSQL is not installed: scripts/setup test"
    return found[-1].parent


def _version(initdb: Path) -> int:
    return int(initdb.parents[1].name)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(path, account.pw_uid, account.pw_gid)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Indexes of sources in a file that threads and processes of a machine share.

A copy of what archives publish, so it may be thrown away at any time. Names and versions only: Ubuntu's
35,000 sources of a release take 3 MB, and none of it stays in memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from testyard.adapters.sources import Seen, Suite, read_release, read_sources
from testyard.errors import OutsideError

_TABLES = """
CREATE TABLE IF NOT EXISTS suite (
    place TEXT PRIMARY KEY, checked REAL NOT NULL, tried REAL NOT NULL, problem TEXT NOT NULL,
    etag TEXT NOT NULL, modified TEXT NOT NULL, there INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS part (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL, component TEXT NOT NULL, sha256 TEXT NOT NULL,
    UNIQUE (place, component)
);
CREATE TABLE IF NOT EXISTS source (
    name TEXT NOT NULL, version TEXT NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (name, version, part)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS source_part ON source (part);
CREATE TABLE IF NOT EXISTS about (
    url TEXT PRIMARY KEY, fingerprint TEXT, until REAL NOT NULL
) WITHOUT ROWID;
"""
_BUSY_SECONDS = 60
#: Seconds to wait for whoever reads an archive for the first time; then it is noted as not looked up.
_WAIT_SECONDS = 20.0
#: Seconds after which a suite that nobody asked for is forgotten.
_KEEP = 7 * 86400.0


@dataclass(frozen=True)
class Standing:
    """How much is known of a suite. Times are Unix seconds, 0: never; ``problem`` is of the last try."""

    checked: float = 0
    tried: float = 0
    problem: str = ""
    there: bool = False


class SourceCache:
    """A folder. For any number of threads and processes; nobody else may write to the folder."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._threads = threading.local()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._open() as connection:
            connection.executescript(f"PRAGMA journal_mode=WAL; {_TABLES}")

    def standing(self, suite: Suite) -> Standing:
        """What was found out last, and when."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT checked, tried, problem, there FROM suite WHERE place = ?", (suite.place,)
            ).fetchone()
        if row is None:
            return Standing()
        checked, tried, problem, there = row
        return Standing(checked, tried, problem, bool(there))

    def holds(self, suites: Sequence[Suite], name: str, version: str | None = None) -> bool:
        """True if one of them has a source, in this version if one is named."""
        query = (
            "SELECT 1 FROM source JOIN part ON part.id = source.part"
            " WHERE source.name = ? AND part.place IN (SELECT value FROM json_each(?))"
            " AND (? IS NULL OR source.version = ?) LIMIT 1"
        )
        places = json.dumps([suite.place for suite in suites])
        with self._open() as connection:
            return connection.execute(query, (name, places, version, version)).fetchone() is not None

    def is_due(self, suite: Suite, *, older_than: float) -> bool:
        """True if the archive was not asked for so many seconds."""
        return not 0 <= self._clock() - self.standing(suite).tried < older_than

    def renew(self, suite: Suite, *, older_than: float) -> None:
        """Ask the archive, unless that was tried less than so many seconds ago.

        While somebody else asks, what is there already is used; if nothing is, they are waited for. What
        goes wrong is told by `standing`.
        """
        before = self.standing(suite)
        if not self.is_due(suite, older_than=older_than):
            return
        with self._alone(suite, wait=not before.checked) as alone:
            if alone and self._clock() - self.standing(suite).tried >= older_than:
                self._renew(suite, before)

    def about(self, url: str) -> tuple[bool, str | None]:
        """If an answer about an archive is kept, and what it was: its key's fingerprint, None: no archive."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT fingerprint FROM about WHERE url = ? AND until > ?", (url, self._clock())
            ).fetchone()
        return (True, row[0]) if row else (False, None)

    def keep_about(self, url: str, fingerprint: str | None, seconds: float) -> None:
        """Keep an answer for so long."""
        with self._open() as connection:
            values = (url, fingerprint, self._clock() + seconds)
            connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?, ?)", values)
            connection.commit()

    def _renew(self, suite: Suite, before: Standing) -> None:
        now, problem, checked, there = self._clock(), "", before.checked, before.there
        with self._open() as connection:
            seen = self._seen(connection, suite) if checked else Seen()
            try:
                release = read_release(suite, seen)
                if release is not None:
                    self._replace(connection, suite, release.sources)
                    seen, there = release.seen, release.there
                checked = now
            except OutsideError as error:
                connection.rollback()
                problem = error.brief
            connection.execute(
                "INSERT OR REPLACE INTO suite VALUES (?, ?, ?, ?, ?, ?, ?)",
                (suite.place, checked, now, problem, seen.etag, seen.modified, there),
            )
            self._forget(connection, now - _KEEP)
            connection.commit()

    def _forget(self, connection: sqlite3.Connection, before: float) -> None:
        for statement in (
            "DELETE FROM source WHERE part IN"
            " (SELECT part.id FROM part JOIN suite USING (place) WHERE tried < ?)",
            "DELETE FROM part WHERE place IN (SELECT place FROM suite WHERE tried < ?)",
            "DELETE FROM suite WHERE tried < ?",
            "DELETE FROM about WHERE until < ?",
        ):
            connection.execute(statement, (before,))

    def _seen(self, connection: sqlite3.Connection, suite: Suite) -> Seen:
        # a component that the settings name since then is in no answer "not changed"
        known = {
            row[0] for row in connection.execute("SELECT component FROM part WHERE place = ?", (suite.place,))
        }
        if not known.issuperset(suite.components):
            return Seen()
        row = connection.execute(
            "SELECT etag, modified FROM suite WHERE place = ?", (suite.place,)
        ).fetchone()
        return Seen(*row) if row else Seen()

    def _replace(
        self, connection: sqlite3.Connection, suite: Suite, sources: Mapping[str, tuple[str, str]]
    ) -> None:
        kept = {
            component: (part, sha256)
            for part, component, sha256 in connection.execute(
                "SELECT id, component, sha256 FROM part WHERE place = ?", (suite.place,)
            )
        }
        for component in suite.components:
            path, sha256 = sources.get(component, ("", ""))
            part, had = kept.get(component, (None, None))
            if had == sha256:
                continue
            # fetched before the file's lock is taken, which others wait for
            found = read_sources(suite, path, sha256) if path else iter(())
            connection.execute("DELETE FROM source WHERE part = ?", (part,))
            connection.execute("DELETE FROM part WHERE id = ?", (part,))
            new = connection.execute(
                "INSERT INTO part (place, component, sha256) VALUES (?, ?, ?)",
                (suite.place, component, sha256),
            ).lastrowid
            connection.executemany(
                "INSERT OR IGNORE INTO source VALUES (?, ?, ?)",
                ((name, version, new) for name, version in found),
            )
            connection.commit()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The thread's own; a new one costs as much as ten questions."""
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._folder / "sources.db", timeout=_BUSY_SECONDS)
            connection.execute("PRAGMA synchronous=OFF")  # it can be fetched again
            self._threads.connection = connection
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise

    @contextmanager
    def _alone(self, suite: Suite, *, wait: bool) -> Iterator[bool]:
        """True if nobody else asks for this suite; the kernel ends the lock with whoever holds it."""
        name = hashlib.sha256(suite.place.encode()).hexdigest()[:32]
        with (self._folder / f"{name}.lock").open("w") as lock:
            yield _locked(lock, _WAIT_SECONDS if wait else 0)


def _locked(lock: TextIO, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
            time.sleep(0.05)
        else:
            return True

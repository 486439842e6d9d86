# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fills the index: from completion messages, and by sweeps over the store for what they missed.

Both may see a run any number of times, in any order, in any number of processes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Engine

from testyard.errors import ResultError
from testyard.event import CompletionMessage
from testyard.index import index_errors
from testyard.index.read import missing_runs
from testyard.index.write import record_run
from testyard.ports import Store
from testyard.result import read_result_tar
from testyard.store import RESULT, RunPath, is_private, is_results_container

log = logging.getLogger(__name__)

#: So many of a container's runs are compared with the index at a time, in 5 to 9 ms (of 100,000 runs).
_PAGE = 500


class Indexer:
    """One store and one index; not for use by two threads at once.

    A sweep compares ``page`` of a container's runs with the index at a time.
    """

    def __init__(self, store: Store, engine: Engine, *, page: int = _PAGE) -> None:
        self._store = store
        self._engine = engine
        self._page = page
        self._unreadable: set[str] = set()

    def on_completion(self, body: bytes) -> None:
        """Enter the run that a completion message tells of.

        Raises ResultError if the message or the result cannot be read, and StoreError or
        TestyardError if store or index are away.
        """
        message = CompletionMessage.from_bytes(body)
        if not is_results_container(message.container):
            raise ResultError(f"completion message: container {message.container!r} holds no results")
        if is_private(message.container):
            return
        data = self._store.get(message.container, message.path.file(RESULT))
        if data is None:
            raise ResultError(f"{message.container}/{message.path}: there is no {RESULT}")
        self._enter(message.container, message.path, data)

    def sweep(self) -> int:
        """Enter every stored run that the index lacks; returns how many. Raises as `on_completion`."""
        found = 0
        for container in self._store.containers(prefix="autopkgtest-"):
            stored = self._stored(container)
            for start in range(0, len(stored), self._page):
                for entry in self._missing(container, stored[start : start + self._page]):
                    found += self._try_enter(container, entry)
        return found

    def _stored(self, container: str) -> list[str]:
        names = self._store.names(container)
        ending = f"/{RESULT}"
        return [name.removesuffix(ending) for name in names if name.endswith(ending)]

    def _missing(self, container: str, entries: Sequence[str]) -> tuple[str, ...]:
        readable = [entry for entry in entries if f"{container}/{entry}" not in self._unreadable]
        with index_errors(), self._engine.connect() as connection:
            return missing_runs(connection, container, readable)

    def _try_enter(self, container: str, entry: str) -> int:
        try:
            path = RunPath.parse(entry)
            data = self._store.get(container, path.file(RESULT))
            # listed, and not there: the store's servers do not agree yet, or it was removed. Not remembered
            return 0 if data is None else int(self._enter(container, path, data))
        except ResultError as error:
            self._unreadable.add(f"{container}/{entry}")  # told once a process, not at every sweep
            log.warning("not entered: %s/%s: %s", container, entry, error.brief)
            return 0

    def _enter(self, container: str, path: RunPath, data: bytes) -> bool:
        result = read_result_tar(data)
        with index_errors(), self._engine.begin() as connection:
            return record_run(connection, container, path, result)

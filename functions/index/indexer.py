# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fills the index: from completion messages, and by sweeps over the store for what they missed.

Both may see a run any number of times, in any order, in any number of processes.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from testyard.errors import ResultError, TestyardError
from testyard.event import CompletionMessage
from testyard.index.read import known_run_ids
from testyard.index.write import record_run
from testyard.ports import Store
from testyard.result import read_result_tar
from testyard.store import RESULT, RunPath, is_private, is_results_container

log = logging.getLogger(__name__)


class Indexer:
    """One store and one index; not for use by two threads at once."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store = store
        self._engine = engine
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
        self._enter(message.container, message.path)

    def sweep(self) -> int:
        """Enter every stored run that the index lacks; returns how many. Raises as `on_completion`."""
        found = 0
        for container in self._store.containers(prefix="autopkgtest-"):
            with self._engine.connect() as connection:
                known = known_run_ids(connection, container)
            for entry in self._runs(container):
                if entry not in known and f"{container}/{entry}" not in self._unreadable:
                    found += self._try_enter(container, entry)
        return found

    def _runs(self, container: str) -> list[str]:
        names = self._store.names(container)
        ending = f"/{RESULT}"
        return [name.removesuffix(ending) for name in names if name.endswith(ending)]

    def _try_enter(self, container: str, entry: str) -> int:
        try:
            return int(self._enter(container, RunPath.parse(entry)))
        except ResultError as error:
            self._unreadable.add(f"{container}/{entry}")  # told once a process, not at every sweep
            log.warning("not entered: %s/%s: %s", container, entry, error.brief)
            return 0

    def _enter(self, container: str, path: RunPath) -> bool:
        data = self._store.get(container, path.file(RESULT))
        if data is None:
            raise ResultError(f"{container}/{path}: there is no {RESULT}")
        result = read_result_tar(data)
        try:
            with self._engine.begin() as connection:
                return record_run(connection, container, path, result)
        except SQLAlchemyError as error:
            raise TestyardError(f"index: {type(error).__name__}") from error

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker's ear for orders, and its word of how it is (`testyard.control`)."""

from __future__ import annotations

import logging
import platform
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import testyard
from testyard import control
from testyard.control import HostReport, Orders, WorkerReport
from testyard.errors import ResultError, SettingsError, StoreError, TestyardError
from testyard.ports import Store
from testyard.settings import Settings
from worker.hosts import HostPool
from worker.process import CLEAN_ENVIRONMENT

log = logging.getLogger(__name__)

#: Seconds between two looks for orders.
_LOOK = 5.0
#: Seconds that the operator's program may take.
_ANNOUNCING = 30.0


class Controller(threading.Thread):
    """Looks for orders, carries them out, reports. ``heard`` is set when the first look is done.

    ``reload`` raises TestyardError if it cannot be done.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        pool: HostPool,
        reload: Callable[[], None],
        leaving: Callable[[], bool],
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._settings = settings
        self._store = store
        self._pool = pool
        self._reload = reload
        self._leaving = leaving
        self._ended = threading.Event()
        self._drains: dict[str, str] = {}  # ours, until they stand in the store
        self._lock = threading.Lock()
        self._orders: Orders | None = None
        name, machine = settings.worker.name, platform.node()
        self._now = WorkerReport(
            name, testyard.__version__, machine, time.time(), (), str(settings.worker.work_dir)
        )
        self._said: WorkerReport | None = None
        self.heard = threading.Event()

    def drain(self, host: str, reason: str) -> None:
        """The worker's own order; told to the operators."""
        log.error("host %s is drained: %s", host, reason)
        with self._lock:
            self._drains[host] = reason

    def check_name(self) -> None:
        """Raises SettingsError if another worker that lives has the name; StoreError."""
        for other in control.workers(self._store):
            same = (other.machine, other.work_dir) == (self._now.machine, self._now.work_dir)
            if other.name == self._now.name and not (same or other.gone or other.leaving):
                raise SettingsError(
                    f"worker.name: {other.name} is a worker on {other.machine}, in {other.work_dir}",
                    resolution="Give each worker its own name. Is that one gone for good? Wait 2 minutes.",
                )

    def stop(self) -> None:
        """End, with a last report."""
        self._ended.set()
        self.join(timeout=10)

    def run(self) -> None:
        """Until `stop` is called."""
        while True:
            ended = self._ended.wait(0 if self._orders is None else _LOOK)
            try:
                self._write_ours()
                self._obey(control.orders(self._store, self._settings.worker.name))
                self.heard.set()
                self._report(ended=ended)
            except (StoreError, ResultError) as error:
                log.warning("orders: %s", error.brief)
                self._orders = self._orders or Orders()
            except Exception:  # the outermost place: a bug must not leave the worker deaf
                log.exception("orders: a bug")
                self._orders = self._orders or Orders()
            if ended:
                return

    def _write_ours(self) -> None:
        with self._lock:
            ours = dict(self._drains)
        for host, reason in ours.items():
            control.drain(self._store, self._settings.worker.name, host, reason)
            with self._lock:
                del self._drains[host]
            self._announce(f"worker {self._settings.worker.name}: host {host} is drained: {reason}")

    def _obey(self, found: Orders) -> None:
        with self._lock:
            ours = dict(self._drains)
        names = [state.host.name for state in self._pool.states()]
        self._pool.drain({name: ours.get(name) or found.reason(name) for name in names})
        before, self._orders = self._orders, found
        if before is not None and found.reload != before.reload:
            self._read_again(found.reload)

    def _read_again(self, token: str) -> None:
        try:
            self._reload()
        except TestyardError as error:
            log.error("the settings were not read again: %s", error)
            self._now = replace(self._now, reload=token, problem=str(error))
        else:
            log.info("the settings were read again")
            self._now = replace(self._now, reload=token, problem="")

    def _report(self, *, ended: bool) -> None:
        hosts = tuple(
            HostReport(
                state.host.name,
                state.host.testbed.name,
                state.host.settings.slots,
                state.busy,
                state.drained,
                state.host.settings.architectures,
                state.host.settings.releases,
            )
            for state in self._pool.states()
        )
        now = replace(self._now, hosts=hosts, leaving=ended or self._leaving())
        if self._said is None or now != replace(self._said, said=now.said) or self._said.due:
            said = replace(now, said=time.time())
            control.report(self._store, said)
            self._said = said

    def _announce(self, text: str) -> None:
        program = self._settings.worker.announce
        if not program:
            return
        try:
            subprocess.run(
                program,
                input=f"{text}\n".encode(),
                timeout=_ANNOUNCING,
                env=CLEAN_ENVIRONMENT,
                cwd="/",
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.error("worker.announce: %s", error)

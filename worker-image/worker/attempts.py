# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs a request until it tells something of the package: a temporary failure is tried again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from testyard.errors import TestbedError
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.run import DENYLISTED, Phase, PhaseTime
from worker.claim import Claim
from worker.execute import Again, Bundle, Execution
from worker.limits import limits_for
from worker.live import LiveReport
from worker.packagelists import PackageList, PackageLists
from worker.tools import Tools

log = logging.getLogger(__name__)

#: Seconds between two attempts, at most: a slot waits all the while.
_LONGEST_PAUSE = 3600

_NOTHING_PROPOSED = (
    "nothing of the triggers was installed: this archive has no proposed pocket, they say why the test ran"
)
_NEVER = "not run: the release team's list never_run names this package"


@dataclass(frozen=True)
class Attempts:
    """All attempts at one request by one worker. ``accepted`` is Unix time."""

    tools: Tools
    request: TestRequest
    queue: QueueName
    claim: Claim
    report: LiveReport
    accepted: float | None
    cancelled: threading.Event

    @contextmanager
    def made(self, pause: Callable[[float], None]) -> Iterator[Bundle]:
        """The last attempt's result; its files are gone afterwards.

        Raises what ``pause``, called with seconds between two attempts, raises; CancelledRun and
        SettingsError.
        """
        settings = self.tools.settings.worker
        lists = PackageLists(settings.package_lists).of(self.request.package, self.queue)
        history: tuple[str, ...] = ()
        for number in count(1):
            self.report.taken(settings.name)  # spectators begin anew with each attempt
            execution = self._execution(number, lists)
            try:
                made = self._run(execution, lists, history)
                if isinstance(made, Bundle):
                    yield made
                    return
            finally:
                self._remove(execution)
            told = f"attempt {number} of {settings.attempts} failed: {made.cause} (rule {made.rule})"
            log.warning("request %s: %s", self.claim.request_id, "private" if self.request.private else told)
            self.tools.metrics.tried_again(self.queue)
            history = (*history, told)
            seconds = min(settings.retry_pause * 2 ** (number - 1), _LONGEST_PAUSE)
            line = f"testyard: {told}; the next one is due in {seconds} s\n".encode()
            self.report.log(line, execution.log_size + len(line))
            self.report.phase(PhaseTime(Phase.WAIT, time.time()))
            pause(seconds)

    def _remove(self, execution: Execution) -> None:
        try:
            self.tools.testbed.remove(execution.workspace)
        except TestbedError as error:  # the run is what it is; the next start of a worker removes the rest
            log.warning("%s stays: %s", execution.workspace.folder, error.brief)

    def _run(
        self, execution: Execution, lists: frozenset[PackageList], history: tuple[str, ...]
    ) -> Bundle | Again:
        settings = self.tools.settings.worker
        if PackageList.NEVER in lists:
            return execution.refuse(DENYLISTED, _NEVER)
        if self.claim.deaths >= settings.deaths:
            return execution.refuse(16, f"given up: {self.claim.deaths} workers died while they ran it")
        if self.accepted is not None:
            execution.phases.add(PhaseTime(Phase.WAIT, self.accepted, time.time() - self.accepted))
        return execution.run((*self._notes(), *history))

    def _execution(self, number: int, lists: frozenset[PackageList]) -> Execution:
        worker = self.tools.settings.worker
        judge = partial(self.tools.rules.judge, package=self.request.package, queue=self.queue)
        facts = {
            "request_id": self.claim.request_id,
            "worker": worker.name,
            "testbed": self.tools.testbed.name,
            **({"attempts": str(number)} if number > 1 else {}),
            **({"note": _NOTHING_PROPOSED} if self._asks_for_what_is_not_there() else {}),
        }
        return Execution(
            self.request,
            self.queue,
            settings=worker,
            limits=limits_for(worker.timeouts, self.queue.architecture, lists),
            testbed=self.tools.testbed,
            report=self.report,
            facts=facts,
            judge=partial(judge, last=number >= worker.attempts),
            folder=f"{self.claim.request_id}-{self.claim.token[:8]}",
            cancelled=self.cancelled,
        )

    def _asks_for_what_is_not_there(self) -> bool:
        wanted = self.request.trigger_sources or self.request.all_proposed
        return bool(wanted) and not self.tools.settings.worker.proposed_pocket

    def _notes(self) -> tuple[str, ...]:
        name = self.tools.settings.worker.name
        return (
            f"request {self.claim.request_id}: {self.request.package} on {self.queue.release} "
            f"{self.queue.architecture}",
            f"taken by worker {name}; testbed {self.tools.testbed.name}",
            *([_NOTHING_PROPOSED] if self._asks_for_what_is_not_there() else []),
        )

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

from testyard.errors import CancelledRun, TestbedError
from testyard.packagelists import PackageList, PackageLists
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.result import BLACKLISTED
from testyard.run import DENYLISTED, Phase, PhaseTime
from worker.claim import Claim
from worker.execute import Again, Bundle, Execution
from worker.hosts import Host, Seat
from worker.limits import limits_for
from worker.live import LiveReport
from worker.mask import Masker, secrets_of
from worker.tools import Tools

log = logging.getLogger(__name__)

#: Seconds between two attempts, at most: a slot waits all the while.
_LONGEST_PAUSE = 3600
#: The exit code of a failed testbed.
_TMPFAIL = 16
#: Seconds between two looks for a free slot on another host.
_LOOK = 1.0
#: Where the list vm_packages counts, as in Ubuntu's worker.
_VM_ARCHITECTURES = ("amd64", "amd64v3", "s390x")

_NOTHING_PROPOSED = (
    "nothing of the triggers was installed: this archive has no proposed pocket, they say why the test ran"
)
_NO_ARCHIVES = (
    "the request's archives and pockets were not used: this testbed is the machine itself, and stays as it is"
)
_NO_VM = "the list vm_packages names this package, but no host of this worker has virtual machines"
_NEVER = "not run: the release team's list never_run names this package"


@dataclass(frozen=True)
class Attempts:
    """All attempts at one request by one worker. ``accepted`` is Unix time."""

    tools: Tools
    seat: Seat
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
        wants_vm = PackageList.VM in lists and self.queue.architecture in _VM_ARCHITECTURES
        vm = wants_vm and self.tools.pool.could(self.queue, lambda host: host.vm)
        history: tuple[str, ...] = (_NO_VM,) if wants_vm and not vm else ()
        tried: frozenset[str] = frozenset()
        for number in count(1):
            self._find_host(pause, tried, vm=vm)
            self.report.taken(settings.name)  # spectators begin anew with each attempt
            host = self.seat.host
            tried |= {host.name}
            execution = self._execution(host, number, lists, elsewhere=self._untried(tried, vm=vm))
            try:
                made = self._run(execution, lists, history)
                if isinstance(made, Bundle):
                    yield made
                    return
                failed = f"attempt {number} of {settings.attempts} failed"
                told = f"{failed}: {made.cause} (host {host.name}, rule {made.rule})"
                seconds = min(settings.retry_pause * 2 ** (number - 1), _LONGEST_PAUSE)
                execution.end_log(f"{told}; the next one is due in {seconds} s")
            finally:
                self._remove(host, execution)
            log.warning("request %s: %s", self.claim.request_id, "private" if self.request.private else told)
            self.tools.metrics.tried_again(self.queue)
            history = (*history, told)
            self.report.phase(PhaseTime(Phase.WAIT, time.time()))
            pause(seconds)

    def _find_host(self, pause: Callable[[float], None], tried: frozenset[str], *, vm: bool) -> None:
        """Sit on a host that was not tried if one has a free slot; else stay.

        Who waited for another's slot might be waited for by that one. Raises CancelledRun if all are
        drained.
        """
        pool = self.tools.pool
        suits = partial(_suits, frozenset[str](), vm)
        while True:
            if pool.move(self.seat, self.queue, partial(_suits, tried, vm)):
                return
            if pool.move(self.seat, self.queue, suits):
                return
            if not pool.could(self.queue, suits):
                raise CancelledRun("the hosts that it could run on are drained")
            pause(_LOOK)

    def _untried(self, tried: frozenset[str], *, vm: bool) -> bool:
        return self.tools.pool.could(self.queue, partial(_suits, tried, vm))

    def _remove(self, host: Host, execution: Execution) -> None:
        execution.end_log()
        try:
            host.testbed.remove(execution.workspace)
        except TestbedError as error:  # the run is what it is; the next start of a worker removes the rest
            log.warning("%s stays: %s", execution.workspace.folder, error.brief)

    def _run(
        self, execution: Execution, lists: frozenset[PackageList], history: tuple[str, ...]
    ) -> Bundle | Again:
        settings = self.tools.settings.worker
        if PackageList.NEVER in lists:
            return execution.refuse(DENYLISTED, _NEVER, BLACKLISTED)
        release, architecture = self.queue.release, self.queue.architecture
        if not self.tools.settings.topology.allows(release, architecture):
            return execution.refuse(DENYLISTED, f"not run: {release} is not tested on {architecture}")
        if self.claim.deaths >= settings.deaths:
            return execution.refuse(16, f"given up: {self.claim.deaths} workers died while they ran it")
        if self.accepted is not None:
            execution.phases.add(PhaseTime(Phase.WAIT, self.accepted, time.time() - self.accepted))
        host = self.seat.host
        made = execution.run((*self._notes(), *history))
        if not isinstance(made, Again) and made.result.exit_code != _TMPFAIL:
            self.tools.pool.well(host)
        elif execution.blames_host:
            self.tools.pool.failed(host, self.request.package)
        return made

    def _execution(
        self, host: Host, number: int, lists: frozenset[PackageList], *, elsewhere: bool
    ) -> Execution:
        worker = self.tools.settings.worker
        judge = partial(self.tools.rules.judge, package=self.request.package, queue=self.queue)
        facts = {
            "request_id": self.claim.request_id,
            "worker": worker.name,
            "host": host.name,
            **({"attempts": str(number)} if number > 1 else {}),
            **({"note": note} if (note := self._note(host)) else {}),
        }
        return Execution(
            self.request,
            self.queue,
            settings=worker,
            limits=limits_for(worker.timeouts, self.queue.architecture, lists, host.testbed.name),
            host=host,
            big=PackageList.BIG in lists,
            vm=PackageList.VM in lists and host.vm,
            elsewhere=elsewhere,
            report=self.report,
            facts=facts,
            judge=partial(judge, last=number >= worker.attempts),
            folder=f"{self.claim.request_id}-{self.claim.token[:8]}",
            cancelled=self.cancelled,
            masker=Masker(secrets_of(self.request, self.tools.settings)),
        )

    def _note(self, host: Host) -> str:
        """What of the request has no effect here; empty if all has."""
        wanted = bool(self.request.trigger_sources or self.request.all_proposed)
        if wanted and not self.tools.settings.worker.proposed_pocket and not self.request.ppas:
            return _NOTHING_PROPOSED
        return _NO_ARCHIVES if self.request.ppas and not host.testbed.disposable else ""

    def _notes(self) -> tuple[str, ...]:
        name, note = self.tools.settings.worker.name, self._note(self.seat.host)
        return (
            f"request {self.claim.request_id}: {self.request.package} on {self.queue.release} "
            f"{self.queue.architecture}",
            f"taken by worker {name}; host {self.seat.host.name}, testbed {self.seat.host.testbed.name}",
            *([note] if note else []),
        )


def _suits(avoided: frozenset[str], vm: bool, host: Host) -> bool:
    return host.name not in avoided and (host.vm or not vm)

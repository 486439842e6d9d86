# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hosts that a worker runs tests on: which slots are free, and which hosts may be used.

A host is drained by an operator (`worker.control`), or by the worker when runs on it fail one after
the other for reasons that are no package's. What runs on a drained host runs to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from testyard.hosts import Host as HostSettings
from testyard.queue import QueueName
from worker.testbed.base import Testbed

#: Called with a host's name and why it is drained.
OnDrain = Callable[[str, str], None]


@dataclass(frozen=True)
class Host:
    """Where tests run."""

    settings: HostSettings
    testbed: Testbed

    @property
    def name(self) -> str:
        """As in the settings."""
        return self.settings.name

    @property
    def vm(self) -> bool:
        """True if tests run in virtual machines there, or can."""
        return self.testbed.vm


@dataclass
class Seat:
    """One slot of a host, in use; `HostPool.move` may change the host."""

    host: Host


@dataclass(frozen=True)
class HostState:
    """A host as others see it: ``drained`` is the reason, empty if it may be used."""

    host: Host
    busy: int
    drained: str


@dataclass
class _Row:
    host: Host
    busy: int = 0
    #: Packages whose runs failed here one after the other for reasons that are no package's.
    failed: list[str] = field(default_factory=list)
    drained: str = ""


class HostPool:
    """All hosts of a worker; every method may be called by any thread.

    After ``failures`` failed runs in a row, of two packages at least, a host is drained, and ``on_drain``
    hears of it.
    """

    def __init__(self, hosts: Iterable[Host], *, failures: int, on_drain: OnDrain = lambda *_: None) -> None:
        self._rows = {host.name: _Row(host) for host in hosts}
        self._known = dict(self._rows)  # also those that a reload took away: runs may go on there
        self._failures = failures
        self.on_drain = on_drain
        self._lock = threading.Lock()

    def replace(self, hosts: Iterable[Host]) -> None:
        """Other hosts from now on; one of the same name keeps what it knows of its runs."""
        with self._lock:
            rows = {}
            for host in hosts:
                row = rows[host.name] = self._known.setdefault(host.name, _Row(host))
                row.host = host
            self._rows = rows

    def states(self) -> tuple[HostState, ...]:
        """Every host."""
        with self._lock:
            return tuple(HostState(row.host, row.busy, row.drained) for row in self._rows.values())

    def groups(self, queues: Iterable[QueueName]) -> tuple[tuple[QueueName, ...], ...]:
        """Queues that compete for hosts, together; those that no host serves are in none."""
        found: list[tuple[set[str], list[QueueName]]] = []
        for queue in queues:
            with self._lock:
                names = {row.host.name for row in self._serving(queue)}
            together = [queue]
            for group in [group for group in found if group[0] & names]:
                found.remove(group)
                names |= group[0]
                together = [*group[1], *together]
            if names:
                found.append((names, together))
        return tuple(tuple(together) for _, together in found)

    def room(self, queue: QueueName) -> int:
        """How many more runs of a queue could begin now."""
        with self._lock:
            return sum(_free(row) for row in self._serving(queue))

    def take(self, queue: QueueName) -> Seat | None:
        """A slot for a run, on the host with the most free ones; None if there is none."""
        with self._lock:
            return self._best(self._serving(queue))

    def move(self, seat: Seat, queue: QueueName, fits: Callable[[Host], bool]) -> bool:
        """Change to a host that fits and has a free slot. True if the seat's host fits now, or did before."""
        with self._lock:
            if fits(seat.host) and not self._is_drained(seat.host):
                return True
            better = self._best([row for row in self._serving(queue) if fits(row.host)])
            if better is None:
                return False
            self._leave(seat)
            seat.host = better.host
            return True

    def release(self, seat: Seat) -> None:
        """The run is over."""
        with self._lock:
            self._leave(seat)

    def could(self, queue: QueueName, fits: Callable[[Host], bool]) -> bool:
        """True if a host that serves the queue fits and is not drained, whether it has a free slot or not."""
        with self._lock:
            return any(fits(row.host) and not row.drained for row in self._serving(queue))

    def drain(self, reasons: Mapping[str, str]) -> None:
        """These hosts, by name, are drained for these reasons from now on, and no others."""
        with self._lock:
            for name, row in self._rows.items():
                reason = reasons.get(name, "")
                if row.drained and not reason:
                    row.failed.clear()
                row.drained = reason

    def well(self, host: Host) -> None:
        """A run on it told something of its package."""
        with self._lock:
            if host.name in self._rows:
                self._rows[host.name].failed.clear()

    def failed(self, host: Host, package: str) -> None:
        """A run on it failed for a reason that is no package's."""
        with self._lock:
            row = self._rows.get(host.name)
            if row is None or row.drained:
                return
            row.failed.append(package)
            if len(row.failed) < self._failures or len(set(row.failed)) == 1:
                return
            row.drained = f"{len(row.failed)} runs in a row failed on it for reasons that are no package's"
            reason = row.drained
        self.on_drain(host.name, reason)

    def _serving(self, queue: QueueName) -> list[_Row]:
        return [row for row in self._rows.values() if row.host.settings.serves(queue)]

    def _best(self, rows: list[_Row]) -> Seat | None:
        row = max(rows, key=_free, default=None)
        if row is None or _free(row) < 1:
            return None
        row.busy += 1
        return Seat(row.host)

    def _leave(self, seat: Seat) -> None:
        self._known[seat.host.name].busy -= 1

    def _is_drained(self, host: Host) -> bool:
        row = self._rows.get(host.name)
        return row is None or bool(row.drained)


def _free(row: _Row) -> int:
    return 0 if row.drained else max(0, row.host.settings.slots - row.busy)

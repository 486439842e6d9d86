# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker's figures, in Prometheus' text form (docs/messages.md lists them).

Labels are of our own topology: a name that a test or a request chooses is none, it could be any.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from testyard.errors import SettingsError
from testyard.queue import QueueName
from testyard.result import Result
from worker.hosts import HostPool

_PLACE = ("context", "release", "architecture")
#: Seconds: an unpacked package is ready in one, the longest tests run for 10 h.
_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 36000)


class _Hosts(Collector):
    """Slots of each host, as they are when somebody asks."""

    def __init__(self, pool: HostPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        slots = GaugeMetricFamily("testyard_slots", "Runs possible at a time.", labels=["host"])
        busy = GaugeMetricFamily("testyard_slots_busy", "Runs now.", labels=["host"])
        drained = GaugeMetricFamily("testyard_host_drained", "1 if no run may begin there.", labels=["host"])
        for state in self._pool.states():
            slots.add_metric([state.host.name], state.host.settings.slots)
            busy.add_metric([state.host.name], state.busy)
            drained.add_metric([state.host.name], bool(state.drained))
        yield from (slots, busy, drained)


class Metrics:
    """The figures of one worker process; any thread may count."""

    def __init__(self, pool: HostPool) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._phases = Histogram(
            "testyard_phase_seconds",
            "Time of each phase of a run that ended.",
            (*_PLACE, "phase"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._runs = Counter(
            "testyard_runs", "Runs whose result is stored.", (*_PLACE, "outcome"), registry=self._registry
        )
        self._again = Counter(
            "testyard_retries",
            "Attempts that failed for a temporary reason.",
            _PLACE,
            registry=self._registry,
        )
        self._returned = Counter(
            "testyard_returned", "Requests given back to their queue.", ("queue",), registry=self._registry
        )
        self._parked = Counter(
            "testyard_parked", "Requests put among the dead letters.", ("queue",), registry=self._registry
        )
        self._registry.register(_Hosts(pool))

    def stored(self, place: QueueName, result: Result) -> None:
        """A run's result is in the store: its outcome and its phases count."""
        labels = place.context, place.release, place.architecture
        self._runs.labels(*labels, str(result.outcome)).inc()
        for phase in result.phases:
            self._phases.labels(*labels, str(phase.phase)).observe(phase.seconds or 0)

    def tried_again(self, place: QueueName) -> None:
        """An attempt failed for a temporary reason."""
        self._again.labels(place.context, place.release, place.architecture).inc()

    def returned(self, queue: str) -> None:
        """A request goes back."""
        self._returned.labels(queue).inc()

    def parked(self, queue: str) -> None:
        """A request can never work."""
        self._parked.labels(queue).inc()

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """Answer ``GET /metrics`` inside; port 0: nowhere.

        Raises SettingsError if the address cannot be had.
        """
        if not port:
            yield
            return
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as error:
            raise SettingsError(
                f"worker.metrics_port: {host}:{port} cannot be listened on: {error.strerror}",
                resolution="Name a free port, or 0 for no figures.",
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

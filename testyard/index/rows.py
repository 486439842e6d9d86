# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the index answers with. Times are Unix seconds, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from testyard.queue import QueueName
from testyard.run import Outcome, PhaseTime, RunId, explain, outcome_of
from testyard.store import RunPath


@dataclass(frozen=True)
class SubtestRow:
    """One test of a run."""

    name: str
    outcome: str
    reason: str
    seconds: float | None


@dataclass(frozen=True)
class RunRow:
    """One stored run. ``duration`` is in seconds.

    ``phases``, ``facts`` and ``subtests`` are empty in lists: they are told where one run is asked for.
    """

    container: str
    release: str
    architecture: str
    source: str
    run_id: str
    version: str
    triggers: tuple[str, ...]
    env: str
    requester: str | None
    request_id: str | None
    exit_code: int
    duration: int
    completed: float
    phases: tuple[PhaseTime, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    subtests: tuple[SubtestRow, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What the exit code means."""
        return outcome_of(self.exit_code)

    @property
    def explanation(self) -> str:
        """The exit code in words."""
        return explain(self.exit_code)

    @property
    def path(self) -> RunPath:
        """Its place within the container."""
        return RunPath(self.release, self.architecture, self.source, RunId(self.run_id))


class RequestState(StrEnum):
    """Where a request is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class RequestRow:
    """One request. ``log_tail`` ends at byte ``log_end`` of the log; ``path`` once it is done."""

    request_id: str
    queue: str
    package: str
    state: RequestState
    accepted: float | None
    taken: float | None
    updated: float
    worker: str
    attempt: int
    reason: str
    parameters: Mapping[str, Any]
    phases: tuple[PhaseTime, ...]
    log_tail: str
    log_end: int
    container: str | None
    path: str | None

    @property
    def queue_name(self) -> QueueName:
        """Context, release and architecture. Raises RequestError for a queue not of ours."""
        return QueueName.parse(self.queue)


@dataclass(frozen=True)
class OpenRequest:
    """A request that is not known to have ended."""

    request_id: str
    queue: str
    package: str


@dataclass(frozen=True)
class PackageRow:
    """A source package that was tested: how many public runs there are, and when the newest was complete."""

    source: str
    runs: int
    completed: float


@dataclass(frozen=True)
class QueueRow:
    """How many messages wait in a queue, and when that was seen."""

    queue: str
    messages: int
    consumers: int
    updated: float

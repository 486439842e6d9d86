# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an event changes of what forges shall show."""

from __future__ import annotations

from sqlalchemy import Connection

from testyard.event import Event, EventKind
from testyard.intake import statuses
from testyard.intake.statuses import Shown
from testyard.run import outcome_of

_STEPS = {
    EventKind.TAKEN: Shown.RUNNING,
    EventKind.RETURNED: Shown.QUEUED,
    EventKind.REJECTED: Shown.REJECTED,
    EventKind.CANCELLED: Shown.CANCELLED,
}


def apply(connection: Connection, event: Event) -> int:
    """Enter one event; returns how many statuses it changes. In any order, and any number of times."""
    if event.kind is EventKind.STORED:
        return _stored(connection, event)
    shown = _STEPS.get(event.kind)
    if shown is None:
        return 0
    reason = {"reason": str(event.data.get("reason") or "")} if shown.final else {}
    return statuses.change(connection, event.request_id, shown, when=event.time, ended=reason)


def _stored(connection: Connection, event: Event) -> int:
    exit_code = event.data.get("exit_code")
    if type(exit_code) is not int:  # private: its claim tells, to those who may read the store
        statuses.look_at(connection, event.request_id)
        return 0
    ended = {"container": event.data.get("container"), "path": event.data.get("path"), "exit_code": exit_code}
    shown = Shown.of(outcome_of(exit_code))
    return statuses.change(connection, event.request_id, shown, when=event.time, ended=ended)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a pull request shows of what a hook asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection

from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook
from testyard.intake.statuses import Shown, change, of_commit, want
from testyard.intake.submit import Accepted, Wish

#: The status that says why nothing could be asked for.
CONTEXT = "testyard"


@dataclass(frozen=True)
class Planned:
    """A wish, and the context in which its commit shows it. ``names``: how a command may call it."""

    wish: Wish
    context: str
    place: Mapping[str, Any] = field(default_factory=dict)
    names: frozenset[str] = frozenset()


def place_of(hook: Hook) -> dict[str, Any]:
    """What of a hook is needed again if somebody asks for the same once more."""
    return {"number": hook.number, "ref": hook.ref, "stranger": hook.stranger}


def derived_id(delivery: Delivery, *parts: str) -> str:
    """A request id made from a delivery: a UUID, the same each time the delivery is worked on."""
    return str(uuid5(NAMESPACE_URL, "\n".join((delivery.forge, delivery.key, *parts))))


def show_requests(connection: Connection, hook: Hook, made: Iterable[tuple[Planned, Accepted]]) -> None:
    """Let the commit show how the requests go on; what was wrong before is no more."""
    if _is_of_others(connection, hook):
        return
    # in one order: of two that write the same rows in another one PostgreSQL ends one
    for planned, accepted in sorted(made, key=lambda pair: pair[0].context):
        want(
            connection,
            accepted.request_id,
            forge=hook.forge,
            project=hook.project,
            commit=hook.head,
            context=planned.context,
            place=planned.place,
            details={"queue": str(accepted.queue), "package": planned.wish.package},
            stranger=hook.stranger,
        )
    for row in of_commit(connection, hook.forge, hook.project, hook.head):
        if row.context == CONTEXT and row.wanted is Shown.REJECTED:
            change(connection, row.request_id, Shown.PASS, when=time.time())


def show_problem(connection: Connection, hook: Hook, delivery: Delivery, reason: str) -> None:
    """Let the commit show why nothing was asked for."""
    if _is_of_others(connection, hook):
        return
    request_id = derived_id(delivery, "problem")
    want(
        connection,
        request_id,
        forge=hook.forge,
        project=hook.project,
        commit=hook.head,
        context=CONTEXT,
        place={**place_of(hook), "query": delivery.query},
        details={},
        stranger=hook.stranger,
    )
    change(connection, request_id, Shown.REJECTED, when=time.time(), ended={"reason": reason})


def _is_of_others(connection: Connection, hook: Hook) -> bool:
    """A stranger may open a pull request with a commit of another one: there it shows nothing."""
    if not hook.stranger:
        return False
    rows = of_commit(connection, hook.forge, hook.project, hook.head)
    return any(row.place.get("number") != hook.number for row in rows)

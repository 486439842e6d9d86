# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a pull request shows of what a hook asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection

from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook
from testyard.intake.statuses import Shown, change, context_of, of_commit, want
from testyard.intake.submit import Accepted, Wish

#: The status that says why nothing could be asked for.
CONTEXT = "testyard"


def derived_id(delivery: Delivery, *parts: str) -> str:
    """A request id made from a delivery: a UUID, the same each time the delivery is worked on."""
    return str(uuid5(NAMESPACE_URL, "\n".join((delivery.forge, delivery.key, *parts))))


def show_requests(connection: Connection, hook: Hook, made: Iterable[tuple[Wish, Accepted]]) -> None:
    """Let the commit show how the requests go on; what was wrong before is no more."""
    for wish, accepted in made:
        queue = accepted.queue
        want(
            connection,
            accepted.request_id,
            forge=hook.forge,
            project=hook.project,
            commit=hook.head,
            context=context_of(queue.release, queue.architecture, wish.parameters.get("testname")),
            place={"number": hook.number, "ref": hook.ref},
            details={"queue": str(queue), "package": wish.package},
        )
    for row in of_commit(connection, hook.forge, hook.project, hook.head):
        if row.context == CONTEXT and row.wanted is Shown.REJECTED:
            change(connection, row.request_id, Shown.PASS, when=time.time())


def show_problem(connection: Connection, hook: Hook, delivery: Delivery, reason: str) -> None:
    """Let the commit show why nothing was asked for."""
    request_id = derived_id(delivery, "problem")
    want(
        connection,
        request_id,
        forge=hook.forge,
        project=hook.project,
        commit=hook.head,
        context=CONTEXT,
        place={"number": hook.number, "ref": hook.ref},
        details={},
    )
    change(connection, request_id, Shown.REJECTED, when=time.time(), ended={"reason": reason})

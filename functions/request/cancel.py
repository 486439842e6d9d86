# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cancelling a request that waits or runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from starlette.responses import Response

from functions.request.calls import Call, answer
from testyard import fields
from testyard.cancel import cancelled
from testyard.errors import (
    ConflictError,
    ForbiddenError,
    LimitError,
    MissingError,
    RequestError,
    TestyardError,
)
from testyard.event import PRIVATE_PACKAGE, Event, EventKind
from testyard.index import RequestState, index_errors
from testyard.index.read import find_request
from testyard.intake import audit
from testyard.intake.audit import Action
from testyard.intake.ending import order_end
from testyard.intake.known import cancelled_ids
from testyard.intake.schema import asked
from testyard.openapi.models import Cancelling

log = logging.getLogger(__name__)

_UNDER_WAY = (RequestState.QUEUED, RequestState.RUNNING)


@dataclass(frozen=True)
class _Found:
    """A request as far as it is known; ``owner`` is empty if it did not come by our doors."""

    queue: str
    package: str
    state: RequestState
    owner: str = ""
    private: bool = False


def cancel(call: Call) -> Response:
    """``DELETE /api/v1/requests/{id}``: a note in the store, and the event if no worker has it yet."""
    try:
        call.gate.admit(call.who, call.address)
        request_id = _request_id(call)
        found = _find(call, request_id)
        call.gate.may_cancel(call.who, found.owner, found.package, found.queue)
    except (ForbiddenError, LimitError, MissingError) as error:
        call.gate.note_refusal(call.who, call.address, error)
        raise
    if found.state not in _UNDER_WAY:
        raise ConflictError(f"The request has ended ({found.state}): nothing is left to cancel.")
    reason = _reason(call)
    before = _cancelled_before(call, request_id)
    if before is not None:
        return _answer(request_id, found, before)
    with index_errors(), call.index.connect() as index:
        request_id = order_end(call.store, index, request_id, found.queue, reason)
    if found.state is RequestState.QUEUED:
        # whoever watches need not wait until a worker meets it; why, may say what is private
        told_all = "by who may" if found.private else reason
        event = Event(EventKind.CANCELLED, request_id, found.queue, "", data={"reason": told_all})
        call.sender.tell_all([event])
    _record(call, request_id, {} if found.private else {"reason": reason})
    return _answer(request_id, found, reason)


def _answer(request_id: str, found: _Found, reason: str) -> Response:
    told = Cancelling(id=request_id, state=found.state.value, reason=reason)
    return answer(told.model_dump(mode="json"), 202)


def _cancelled_before(call: Call, request_id: str) -> str | None:
    """Why, if it was asked to end already and all who are to know of that do."""
    with index_errors(), call.memory.connect() as memory:
        recorded = request_id in cancelled_ids(memory, [request_id])
    return cancelled(call.store, request_id) if recorded else None


def _record(call: Call, request_id: str, details: Mapping[str, str]) -> None:
    """In the audit log, as far as that is possible: it is cancelled already."""
    try:
        with index_errors(), call.memory.begin() as memory:
            audit.record(
                memory, Action.CANCELLED, call.who, address=call.address, request_id=request_id, **details
            )
    except TestyardError as error:
        log.error(
            "%s cancelled %s, which is not in the audit log: %s", call.who.owner, request_id, error.brief
        )


def _find(call: Call, request_id: str) -> _Found:
    with index_errors(), call.index.connect() as index, call.memory.connect() as memory:
        row = find_request(index, request_id)
        query = select(asked.c.queue, asked.c.package, asked.c.owner, asked.c.private)
        ours = memory.execute(query.where(asked.c.request_id == request_id)).first()
    if row is None and ours is None:
        raise MissingError("No request has this id.")
    state = row.state if row else RequestState.QUEUED
    if ours is None:
        assert row is not None
        return _Found(row.queue, row.package, state, private=row.package == PRIVATE_PACKAGE)
    # a refusal names the package: not that of somebody else's private request
    hidden = ours.private and ours.owner != call.who.owner
    package = PRIVATE_PACKAGE if hidden else ours.package
    return _Found(ours.queue, package, state, ours.owner, private=bool(ours.private))


def _request_id(call: Call) -> str:
    try:
        return fields.request_id("id", call.request.path_params["request_id"]) or ""
    except RequestError as error:
        raise MissingError("A request's id is a UUID.") from error


def _reason(call: Call) -> str:
    told = fields.line("reason", call.request.query_params.get("reason"))
    return told or f"by {call.who.login or call.address}"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one door by which requests go to their queues, all of a call or none.

What is accepted is written down first, in one transaction with the audit log, and then sent. If the
broker goes away between two messages, the rest is sent by `Door.send_left`, which any copy calls again
and again: the requests' ids make a second message of one request harmless (docs/delivery.md). If the
broker was away before the first, nothing is kept, and whoever asked is told so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, delete, func, select, update

from testyard.errors import BrokerError, NotSentError, RequestError
from testyard.event import PRIVATE_PACKAGE, Event, EventKind
from testyard.index import index_errors
from testyard.intake import audit
from testyard.intake.audit import Action
from testyard.intake.fingerprint import fingerprint
from testyard.intake.identity import Identity
from testyard.intake.known import Known, Standing, passed, under_way
from testyard.intake.schema import asked
from testyard.queue import QueueName
from testyard.request import TestRequest, make_request, new_request_id
from testyard.secrets import masked_parameters

log = logging.getLogger(__name__)

#: Seconds after which what was accepted and is not sent is another copy's to send.
_LEFT = 10.0
#: Seconds for which what was sent is remembered, to know the same when it is asked again.
_REMEMBER = 30 * 86400.0


@dataclass(frozen=True)
class Wish:
    """One request for one queue. ``parameters`` are the body's keys, without ``uuid``.

    ``request_id`` is given where asking twice must not run twice: a hook's delivery that comes again.
    ``subject`` names what it is about (``github/owner/project#12``), so that a newer one can supersede it.
    """

    queue: QueueName
    package: str
    parameters: Mapping[str, Any]
    force: bool = False
    request_id: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Accepted:
    """What became of a wish: a new request, or the one that is known already."""

    request_id: str
    queue: QueueName
    standing: Standing
    path: str = ""


class Sender(Protocol):
    """How messages reach the broker."""

    def send(self, queue: QueueName, body: bytes, request_id: str) -> None:
        """Put a request into its queue. Raises NotSentError if it surely is not there, else BrokerError."""

    def tell(self, event: Event) -> None:
        """Tell of a step. Raises BrokerError."""


class Door:
    """Takes requests that were checked and allowed. For any number of threads, if ``sender`` is."""

    def __init__(self, memory: Engine, index: Engine, sender: Sender) -> None:
        self._memory, self._index, self._sender = memory, index, sender

    def submit(self, wishes: Sequence[Wish], who: Identity, *, address: str = "") -> tuple[Accepted, ...]:
        """Take all, or raise and take none.

        Raises RequestError naming the field (``requests[3].triggers`` where there are several), and
        BrokerError if the broker is away.
        """
        requests = [_request(wish, who, place) for wish, place in zip(wishes, _places(wishes), strict=True)]
        answers: list[Accepted] = []
        new: dict[str, tuple[Wish, TestRequest]] = {}
        with index_errors(), self._index.connect() as index, self._memory.begin() as memory:
            _one_after_the_other(memory, wishes, requests)
            for wish, request in zip(wishes, requests, strict=True):
                answer = _answer(memory, index, wish, request, who)
                answers.append(answer)
                if answer.standing is Standing.ACCEPTED:
                    new[answer.request_id] = (wish, request)
                    _write_down(memory, wish, request, who)
                _record(memory, answer, request, who, address)
        self._send(new, who, address)
        return tuple(answers)

    def send_left(self) -> int:
        """Send what was accepted and not sent, and forget what is old. Raises BrokerError.

        Returns how many were sent.
        """
        with index_errors(), self._memory.connect() as memory:
            rows = memory.execute(
                select(asked.c.request_id, asked.c.queue, asked.c.body)
                .where(asked.c.sent.is_(None), asked.c.created < time.time() - _LEFT)
                .order_by(asked.c.created)
                .limit(1000)
            ).all()
        for request_id, queue, body in rows:
            self._sender.send(QueueName.parse(queue), body, request_id)
            self._mark_sent([request_id])
        with index_errors(), self._memory.begin() as memory:
            memory.execute(
                delete(asked).where(asked.c.sent.is_not(None), asked.c.created < time.time() - _REMEMBER)
            )
        return len(rows)

    def _send(self, new: Mapping[str, tuple[Wish, TestRequest]], who: Identity, address: str) -> None:
        sent: list[str] = []
        for request_id, (wish, request) in new.items():
            try:
                self._sender.send(wish.queue, request.body(), request_id)
            except NotSentError as error:
                if not sent:
                    self._take_back(tuple(new), who, address, error)
                    raise
                log.warning("%s is accepted and will be sent later: %s", request_id, error.brief)
                break
            except BrokerError as error:
                log.warning("%s is accepted and will be sent again: %s", request_id, error.brief)
                break
            sent.append(request_id)
            self._tell(wish, request)
        self._mark_sent(sent)

    def _take_back(self, ids: tuple[str, ...], who: Identity, address: str, error: BrokerError) -> None:
        with index_errors(), self._memory.begin() as memory:
            memory.execute(delete(asked).where(asked.c.request_id.in_(ids)))
            for request_id in ids:
                audit.record(
                    memory, Action.REFUSED, who, address=address, request_id=request_id, reason=error.brief
                )

    def _mark_sent(self, ids: Sequence[str]) -> None:
        if ids:
            with index_errors(), self._memory.begin() as memory:
                memory.execute(update(asked).where(asked.c.request_id.in_(ids)).values(sent=time.time()))

    def _tell(self, wish: Wish, request: TestRequest) -> None:
        package = PRIVATE_PACKAGE if request.private else request.package
        data = {"parameters": {} if request.private else masked_parameters(request.parameters)}
        event = Event(EventKind.ACCEPTED, request.uuid or "", str(wish.queue), package, data=data)
        with suppress(BrokerError):  # the request is safe, and what its worker tells is enough
            self._sender.tell(event)


def _places(wishes: Sequence[Wish]) -> list[str]:
    return [""] if len(wishes) == 1 else [f"requests[{number}]." for number in range(len(wishes))]


def _request(wish: Wish, who: Identity, place: str) -> TestRequest:
    parameters = {**wish.parameters, "uuid": wish.request_id or new_request_id()}
    if who.login:
        parameters.setdefault("requester", who.login)
    parameters.setdefault("submit-time", time.strftime("%Y-%m-%d %H:%M:%S+0000", time.gmtime()))
    try:
        return make_request(wish.package, parameters)
    except RequestError as error:
        raise RequestError(f"{place}{error.field}", error.problem) from error


def _answer(
    memory: Connection, index: Connection, wish: Wish, request: TestRequest, who: Identity
) -> Accepted:
    found = _told_before(memory, wish)
    if found is None and not wish.force:
        found = under_way(memory, index, wish.queue, request, who.owner) or passed(index, wish.queue, request)
    if found is not None:
        return Accepted(found.request_id, wish.queue, found.standing, found.path)
    return Accepted(request.uuid or "", wish.queue, Standing.ACCEPTED)


def _told_before(memory: Connection, wish: Wish) -> Known | None:
    """The request that this very wish made when it was told before."""
    if not wish.request_id:
        return None
    query = select(asked.c.request_id).where(asked.c.request_id == wish.request_id)
    return Known(Standing.QUEUED, wish.request_id) if memory.execute(query).first() else None


def _one_after_the_other(memory: Connection, wishes: Sequence[Wish], requests: Sequence[TestRequest]) -> None:
    """Of two that ask for the same at once, one waits. SQLite's writers do so anyway."""
    if memory.dialect.name == "postgresql":
        pairs = zip(wishes, requests, strict=True)
        keys = {int(fingerprint(wish.queue, request)[:15], 16) for wish, request in pairs}
        for key in sorted(keys):  # in one order, so that two cannot wait for each other
            memory.execute(select(func.pg_advisory_xact_lock(key)))


def _write_down(memory: Connection, wish: Wish, request: TestRequest, who: Identity) -> None:
    memory.execute(
        asked.insert().values(
            request_id=request.uuid,
            queue=str(wish.queue),
            package=request.package,
            fingerprint=fingerprint(wish.queue, request),
            owner=who.owner,
            private=int(request.private),
            subject=wish.subject,
            body=request.body(),
            created=time.time(),
        )
    )


def _record(memory: Connection, answer: Accepted, request: TestRequest, who: Identity, address: str) -> None:
    action = Action.ACCEPTED if answer.standing is Standing.ACCEPTED else Action.FOUND
    details: dict[str, Any] = {}
    if not request.private:
        details = {
            "queue": str(answer.queue),
            "package": request.package,
            "parameters": masked_parameters(request.parameters),
        }
    audit.record(memory, action, who, address=address, request_id=answer.request_id, **details)

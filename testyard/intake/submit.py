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
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, select

from testyard.errors import BrokerError, NotSentError, RequestError, TestyardError
from testyard.index import index_errors
from testyard.intake import answers, audit
from testyard.intake.answers import Ticket
from testyard.intake.audit import Action, Deed
from testyard.intake.identity import Identity
from testyard.intake.known import Known, Standing, Wanted, chunks, known
from testyard.intake.left import (
    LEFT,
    Left,
    new_holder,
    one_after_the_other,
    send_left,
    settle,
    take_back,
    take_over,
)
from testyard.intake.schema import asked
from testyard.intake.sender import Message, Sender, accepted_event
from testyard.queue import QueueName
from testyard.request import TestRequest, make_request, new_request_id, parse_body
from testyard.secrets import masked_parameters

log = logging.getLogger(__name__)

_CHUNK = 500


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


@dataclass(frozen=True)
class _Asked:
    """A wish as a request."""

    wish: Wish
    wanted: Wanted

    @property
    def request(self) -> TestRequest:
        return self.wanted.request

    @property
    def id(self) -> str:
        return self.wanted.request.uuid or ""

    @property
    def message(self) -> Message:
        return Message(self.wish.queue, self.request.body(), self.id)


@dataclass
class _Call:
    """What came of one call's wishes so far. ``holder`` is its name as a sender."""

    answers: list[Accepted] = field(default_factory=list)
    new: dict[str, _Asked] = field(default_factory=dict)
    holder: str = field(default_factory=new_holder)

    def known_as(self, one: _Asked, found: Known) -> None:
        self.answers.append(Accepted(found.request_id, one.wish.queue, found.standing, found.path))

    def accept(self, one: _Asked) -> None:
        self.answers.append(Accepted(one.id, one.wish.queue, Standing.ACCEPTED))
        self.new[one.id] = one


class Door:
    """Takes requests that were checked and allowed. For any number of threads, if ``sender`` is.

    ``memory`` is a writer's engine, ``index`` a reader's.
    """

    def __init__(self, memory: Engine, index: Engine, sender: Sender) -> None:
        self._memory, self._index, self._sender = memory, index, sender

    def submit(
        self, wishes: Sequence[Wish], who: Identity, *, address: str = "", ticket: Ticket | None = None
    ) -> tuple[Accepted, ...]:
        """Take all, or raise and take none; ``ticket`` must still be its holder's then.

        Raises RequestError naming the field (``requests[3].triggers`` where there are several), BrokerError
        if the broker is away, and ConflictError if another call has the ticket's key.
        """
        all_asked = [_asked(wish, who, place) for wish, place in zip(wishes, _places(wishes), strict=True)]
        with index_errors(), self._index.connect() as index, self._memory.begin() as memory:
            if ticket is not None:
                answers.hold(memory, ticket)
            one_after_the_other(memory, [one.wanted.print for one in all_asked])
            call = _sort_out(memory, index, all_asked, who)
            _write_down(memory, call, who)
            pairs = zip(all_asked, call.answers, strict=True)
            audit.record_all(memory, [_deed(who, *pair, address) for pair in pairs])
            unsent = take_over(memory, _known_ids(call), call.holder)
        self._send(call, unsent, who, address)
        return tuple(call.answers)

    def send_left(self) -> int:
        """Send what was accepted and not sent, and forget what is old; one copy at a time.

        Returns how many were sent. Raises BrokerError if some could not be.
        """
        return send_left(self._memory, self._sender)

    def _send(self, call: _Call, unsent: Sequence[Left], who: Identity, address: str) -> None:
        """Send what is new, and what another call has accepted and not sent yet: it may still fail there."""
        messages = [*(one.message for one in call.new.values()), *(left.message for left in unsent)]
        outcomes = self._sender.send_all(messages) if messages else []
        pairs = list(zip(messages, outcomes, strict=True))
        sent = [message for message, error in pairs if error is None]
        failed = [(message.request_id, error) for message, error in pairs if error is not None]
        nothing = not sent and all(isinstance(error, NotSentError) for _, error in failed)
        if call.new and nothing and self._taken_back(call, who, address, failed[0][1]):
            self._settle(call, [], failed)
            raise failed[0][1]
        if failed:
            log.warning(
                "%d requests are accepted and will be sent later: %s", len(failed), failed[0][1].brief
            )
        self._settle(call, sent, failed)
        self._sender.tell_all([accepted_event(message) for message in sent])

    def _taken_back(self, call: _Call, who: Identity, address: str, error: BrokerError) -> bool:
        """Raises TestyardError if it is not known whether they are: whoever asks again finds out."""
        new = {request_id: one.wanted.print for request_id, one in call.new.items()}
        return take_back(self._memory, new, call.holder, who=who, address=address, error=error)

    def _settle(
        self, call: _Call, sent: Sequence[Message], failed: Sequence[tuple[str, BrokerError]]
    ) -> None:
        """Note it, as far as that is possible: what is done is done, and a second message does no harm."""
        if not sent and not failed:
            return
        try:
            settle(self._memory, call.holder, [message.request_id for message in sent], failed)
        except TestyardError as error:
            log.warning("what was sent is not noted, and will be sent again: %s", error.brief)


def _places(wishes: Sequence[Wish]) -> list[str]:
    return [""] if len(wishes) == 1 else [f"requests[{number}]." for number in range(len(wishes))]


def _asked(wish: Wish, who: Identity, place: str) -> _Asked:
    parameters = {**wish.parameters, "uuid": wish.request_id or new_request_id()}
    if who.login:
        parameters.setdefault("requester", who.login)
    parameters.setdefault("submit-time", time.strftime("%Y-%m-%d %H:%M:%S+0000", time.gmtime()))
    try:
        request = make_request(wish.package, parameters)
        parse_body(request.body())  # its worker must be able to read it
    except RequestError as error:
        raise RequestError(f"{place}{error.field}", error.problem) from error
    return _Asked(wish, Wanted.of(wish.queue, request))


def _sort_out(memory: Connection, index: Connection, all_asked: Sequence[_Asked], who: Identity) -> _Call:
    """Which are new. Of equal ones in a call the first is, unless they are forced."""
    call = _Call()
    told_before = _told_before(memory, [one.id for one in all_asked if one.wish.request_id])
    looked_for = [one.wanted for one in all_asked if not one.wish.force and one.id not in told_before]
    there = known(memory, index, looked_for, who.owner)
    for one in all_asked:
        if one.id in told_before or one.id in call.new:
            call.known_as(one, Known(Standing.QUEUED, one.id))
        elif not one.wish.force and (found := there.get(one.wanted.print)):
            call.known_as(one, found)
        else:
            call.accept(one)
            there[one.wanted.print] = Known(Standing.QUEUED, one.id)
    return call


def _told_before(memory: Connection, ids: Sequence[str]) -> set[str]:
    """The requests that these very wishes made when they were told before."""
    return {
        found
        for part in chunks(ids, _CHUNK)
        for found in memory.execute(select(asked.c.request_id).where(asked.c.request_id.in_(part))).scalars()
    }


def _known_ids(call: _Call) -> set[str]:
    """What this call was told of and did not make."""
    return {answer.request_id for answer in call.answers} - call.new.keys() - {""}


def _write_down(memory: Connection, call: _Call, who: Identity) -> None:
    now = time.time()
    rows = [
        {
            "request_id": one.id,
            "queue": str(one.wish.queue),
            "package": one.request.package,
            "fingerprint": one.wanted.print,
            "owner": who.owner,
            "private": int(one.request.private),
            "subject": one.wish.subject,
            "body": one.request.body(),
            "created": now,
            "holder": call.holder,
            "next_attempt": now + LEFT,
        }
        for one in call.new.values()
    ]
    if rows:
        memory.execute(asked.insert(), rows)


def _deed(who: Identity, one: _Asked, answer: Accepted, address: str) -> Deed:
    action = Action.ACCEPTED if answer.standing is Standing.ACCEPTED else Action.FOUND
    details: dict[str, Any] = {}
    if not one.request.private:
        details = {
            "queue": str(answer.queue),
            "package": one.request.package,
            "parameters": masked_parameters(one.request.parameters),
        }
    return Deed(action, who.owner, address, answer.request_id, details)

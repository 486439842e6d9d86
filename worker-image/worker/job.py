# SPDX-License-Identifier: AGPL-3.0-or-later
"""The story of one request: read → claim → run → store → tell → settle.

A message is acknowledged only when its result is stored and told, when it can never work and is
among the dead letters, or when somebody has cancelled it. Whatever else happens, it stays with the
broker.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from enum import Enum

from testyard.errors import CancelledRun, RequestError, ResultError, StoreError
from testyard.event import EVENTS_EXCHANGE, Event, EventKind
from testyard.moving import Move, find_move, mark_sent, was_sent
from testyard.ports import Store
from testyard.queue import QueueName
from testyard.request import TestRequest
from worker.attempts import Attempts
from worker.claim import Claim, ClaimBook, ClaimState, Identity, identify
from worker.delivery import Delivery
from worker.hosts import Seat
from worker.insist import Insistence
from worker.lease import LeaseKeeper
from worker.live import LiveReport, Message
from worker.publish import remove_unfinished, stored_result
from worker.removal import used_up
from worker.storing import Storing
from worker.tools import Tools

log = logging.getLogger(__name__)

#: Seconds between two looks at a claim that another holds.
_POLL = 1.0


class Settlement(Enum):
    """What the broker is told."""

    ACK = "ack"
    RETURN = "return"


class Job:
    """Works on one delivery, in a thread of its own."""

    def __init__(self, delivery: Delivery, seat: Seat, tools: Tools) -> None:
        self._delivery = delivery
        self._seat = seat
        self._tools = tools
        self._cancelled = threading.Event()
        self._begun = threading.Event()
        self._insist = Insistence(self._cancelled, private=self.private)

    @property
    def private(self) -> bool:
        """True unless it is plain that anybody may read of it."""
        return self._delivery.perhaps_private

    def cancel(self) -> None:
        """Stop as soon as possible; the request goes back."""
        self._cancelled.set()

    def let_go(self) -> None:
        """Stop if the run has not begun; the request goes back."""
        if not self._begun.is_set():
            self._cancelled.set()

    def perform(self) -> Settlement:
        """Do all that the delivery asks for; returns how to settle it."""
        try:
            return self._read()
        except CancelledRun:
            return Settlement.RETURN

    def _read(self) -> Settlement:
        try:
            request, queue = self._delivery.read()
        except RequestError as error:
            return self._park(error, self._delivery.request_id)
        worker = self._tools.settings.worker
        book = ClaimBook(self._tools.store, worker.name, worker.lease)
        try:
            identity = self._identity(book, request, queue)
        except RequestError as error:  # the id is another request's: nothing may be told of that one
            return self._park(error, None)
        if request.uuid is None and not _begun(identity):
            tools, given = self._tools, (self._delivery, self._cancelled)
            removed = self._insist(lambda: used_up(tools.store, tools.keeper, book, *given))
            if removed is not None:
                report = LiveReport(tools.sender, request, removed.request_id, queue)
                return self._cancel(removed.request_id, removed.reason, report)
        return self._claimed(book, request, queue, identity)

    def _park(self, error: RequestError, known: str | None) -> Settlement:
        delivery = self._delivery
        # the dead letter is the operator's; log and event have other readers
        told = f"{error.field}: of a wrong form" if delivery.perhaps_private else error.brief
        log.warning("%s: parked: %s", delivery.queue, told)
        self._insist(
            lambda: self._tools.publisher.park(
                delivery.body, queue=delivery.queue, reason=error.brief, request_id=known or ""
            )
        )
        self._tools.metrics.parked(delivery.queue)
        if known:
            event = Event(EventKind.REJECTED, known, delivery.queue, "", data={"reason": told})
            self._tools.sender.send(Message(EVENTS_EXCHANGE, event.routing_key, event.to_bytes()))
        return Settlement.ACK

    def _claimed(
        self,
        book: ClaimBook,
        request: TestRequest,
        queue: QueueName,
        identity: Identity,
    ) -> Settlement:
        tools = self._tools
        digest = "" if request.uuid else self._delivery.digest
        report = LiveReport(tools.sender, request, identity.request_id, queue, digest=digest)
        storing = Storing(
            tools.store,
            tools.publisher,
            tools.keeper,
            self._insist,
            self._cancelled,
            request,
            queue,
            report,
        )
        if identity.standing and storing.finish(book, identity.key, identity.standing):
            return Settlement.ACK
        reason = self._insist(lambda: book.cancelled(identity.request_id))
        if reason is not None:
            return self._cancel(identity.request_id, reason, report)
        if move := self._elsewhere(request, queue):
            return self._leave_moved(move)
        self._begun.set()
        return self._run(book, storing, identity)

    def _run(self, book: ClaimBook, storing: Storing, identity: Identity) -> Settlement:
        request, queue, report = storing.request, storing.queue, storing.report
        named, digest = (identity.key, identity.request_id), self._delivery.digest
        claim = self._insist(lambda: book.take(*named, digest=digest, deaths=identity.deaths))
        accepted = self._delivery.accepted
        attempts = Attempts(self._tools, self._seat, request, queue, claim, report, accepted, self._cancelled)
        lease = LeaseKeeper(book, identity.key, claim, self._cancelled)
        try:
            with lease, attempts.made(self._insist.pause) as bundle:
                result = storing.publish(lease, bundle)
        except CancelledRun as stopped:
            # a result that is stored stays; who takes the request next tells of it
            if lease.reason is None or not _removed(storing.store, lease.claim):
                self._give_back(book, identity.key, lease, report, stopped.brief)
                raise
            return self._cancel(claim.request_id, lease.reason, report)
        except RequestError as error:  # it took a look at its archives to know
            with suppress(StoreError):  # it may be sent again, and no worker died of it
                book.renew(identity.key, lease.claim, state=ClaimState.RETURNED)
            return self._park(error, claim.request_id)
        except Exception:
            # not the request's fault: nobody is to count it as a worker that died of it
            self._give_back(book, identity.key, lease, report, "the worker met an error of its own")
            raise
        self._tools.metrics.stored(queue, result)
        return Settlement.ACK

    def _cancel(self, request_id: str, reason: str, report: LiveReport) -> Settlement:
        log.info("request %s: cancelled", request_id)
        report.event(EventKind.CANCELLED, reason=reason)
        return Settlement.ACK

    def _elsewhere(self, request: TestRequest, queue: QueueName) -> Move | None:
        """Where it belongs, if not here."""
        request_id, origin = request.uuid, self._delivery.origin
        if request_id is None:
            return None
        move = self._insist(lambda: find_move(self._tools.store, request_id, origin))
        return move if move is not None and move.home != str(queue) else None

    def _leave_moved(self, move: Move) -> Settlement:
        """It belongs elsewhere: see that it is there. Who moved it may have died before it sent it."""
        tools, delivery = self._tools, self._delivery
        if not self._insist(lambda: was_sent(tools.store, move)):
            self._insist(
                lambda: tools.publisher.publish_request(
                    QueueName.parse(move.home),
                    delivery.body,
                    move.request_id,
                    accepted=delivery.accepted,
                    origin=move.origin,
                )
            )
            self._insist(lambda: mark_sent(tools.store, move))
        log.info("request %s: it waits in %s", move.request_id, move.home)
        return Settlement.ACK

    def _give_back(
        self, book: ClaimBook, key: str, lease: LeaseKeeper, report: LiveReport, reason: str
    ) -> None:
        if lease.lost:
            log.warning("request %s: another worker has taken it over", lease.claim.request_id)
            return
        if lease.claim.state is ClaimState.DONE:  # only the telling is left
            return
        # once: if it fails the lease runs out
        with suppress(StoreError):
            book.renew(key, lease.claim, state=ClaimState.RETURNED)
        report.event(EventKind.RETURNED, reason=reason)

    def _identity(self, book: ClaimBook, request: TestRequest, queue: QueueName) -> Identity:
        """Which request it is; waits while a living worker runs it. Raises RequestError."""
        delivery = self._delivery
        place = delivery.origin if request.uuid else str(queue)
        while True:
            found = self._insist(
                lambda: identify(book, request, place, delivery.digest, redelivered=delivery.redelivered)
            )
            standing = found.standing
            if standing is None or standing.state is ClaimState.DONE or standing.void(book.lease):
                return found
            self._insist.pause(_POLL)


def _begun(identity: Identity) -> bool:
    """True if this is surely a message that a worker has begun with before."""
    return identity.standing is not None and identity.standing.state is not ClaimState.DONE


def _removed(store: Store, claim: Claim) -> bool:
    """Remove what an unfinished upload left. False, and nothing is removed, if it may be finished."""
    try:
        if claim.state is ClaimState.DONE or stored_result(store, claim) is not None:
            return False
        remove_unfinished(store, claim)
    except (StoreError, ResultError):
        return False
    return True

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The story of one request: read → claim → run → store → tell → settle.

A message is acknowledged only when its result is stored and told, or when it can never work and is
among the dead letters. Whatever else happens, it stays with the broker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TypeVar

from testyard.adapters.amqp import Publisher
from testyard.adapters.swift import SwiftStore
from testyard.errors import BrokerError, CancelledRun, RequestError, ResultError, StoreError
from testyard.event import COMPLETION_EXCHANGE, EVENTS_EXCHANGE, CompletionMessage, Event, EventKind
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.result import Result
from testyard.run import Phase, PhaseTime
from testyard.store import RunPath
from worker.attempts import Attempts
from worker.claim import Claim, ClaimBook, ClaimState, Identity, identify
from worker.delivery import Delivery
from worker.execute import Bundle
from worker.lease import LeaseKeeper
from worker.live import LiveReport
from worker.order import Turn, TurnLost
from worker.publish import Publication, completion, remove_unfinished, stored_result
from worker.tools import Tools

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds between two looks at a claim that another holds, and the longest pause after a failure.
_POLL = 1.0
_LONGEST_PAUSE = 30.0


class Settlement(Enum):
    """What the broker is told."""

    ACK = "ack"
    RETURN = "return"


class Job:
    """Works on one delivery, in a thread of its own."""

    def __init__(self, delivery: Delivery, tools: Tools) -> None:
        self._delivery = delivery
        self._tools = tools
        self._cancelled = threading.Event()
        self._store = SwiftStore(tools.settings.store)
        self._publisher = Publisher(tools.settings.broker.url.get_secret_value())
        self._book = self._book_in(self._store)

    def cancel(self) -> None:
        """Stop as soon as possible; the request goes back."""
        self._cancelled.set()

    def perform(self) -> Settlement:
        """Do all that the delivery asks for; returns how to settle it."""
        try:
            return self._read()
        except CancelledRun:
            return Settlement.RETURN
        finally:
            self._store.close()
            self._publisher.close()

    def _read(self) -> Settlement:
        try:
            request, queue = self._delivery.read()
        except RequestError as error:
            return self._park(error)
        return self._claimed(request, queue)

    def _park(self, error: RequestError) -> Settlement:
        delivery = self._delivery
        known = delivery.request_id or ""
        # the dead letter is the operator's; log and event have other readers
        told = f"{error.field}: of a wrong form" if delivery.perhaps_private else error.brief
        log.warning("%s: parked: %s", delivery.queue, told)
        self._insist(
            lambda: self._publisher.park(
                delivery.body, queue=delivery.queue, reason=error.brief, request_id=known
            )
        )
        self._tools.metrics.parked(delivery.queue)
        if known:
            event = Event(EventKind.REJECTED, known, delivery.queue, "", data={"reason": told})
            self._tools.sender.send(EVENTS_EXCHANGE, event.routing_key, event.to_bytes())
        return Settlement.ACK

    def _claimed(self, request: TestRequest, queue: QueueName) -> Settlement:
        # the slot comes first: what is true of the claim must still be so when the run begins
        with self._slot():
            identity = self._identity(request, queue)
            report = LiveReport(self._tools.sender, request, identity.request_id, queue)
            if identity.standing and self._finish_other(request, identity.standing, report):
                return Settlement.ACK
            reason = self._insist(lambda: self._book.cancelled(identity.request_id))
            if reason is not None:
                return self._cancel(identity.request_id, reason, report)
            return self._run(request, queue, identity, report)

    def _run(
        self, request: TestRequest, queue: QueueName, identity: Identity, report: LiveReport
    ) -> Settlement:
        claim = self._insist(lambda: self._book.take(identity.key, identity.request_id, identity.deaths))
        accepted = self._delivery.accepted
        attempts = Attempts(self._tools, request, queue, claim, report, accepted, self._cancelled)
        # the lease is kept by a thread of its own, and a store's connection is for one thread
        with SwiftStore(self._tools.settings.store) as store:
            lease = LeaseKeeper(self._book_in(store), identity.key, claim, self._cancelled)
            try:
                with lease, attempts.made(self._pause) as bundle:
                    return self._publish(request, queue, lease, bundle, report)
            except CancelledRun:
                if lease.reason is not None:
                    with suppress(StoreError):  # what a lost turn left
                        remove_unfinished(self._store, lease.claim)
                    return self._cancel(claim.request_id, lease.reason, report)
                self._give_back(identity.key, lease, report)
                raise

    def _cancel(self, request_id: str, reason: str, report: LiveReport) -> Settlement:
        log.info("request %s: cancelled", request_id)
        report.event(EventKind.CANCELLED, reason=reason)
        return Settlement.ACK

    def _give_back(self, key: str, lease: LeaseKeeper, report: LiveReport) -> None:
        if lease.lost:
            log.warning("request %s: another worker has taken it over", lease.claim.request_id)
            return
        # told while the worker is being stopped: once, and if it fails the lease runs out
        with suppress(StoreError):
            self._book.renew(key, lease.claim, state=ClaimState.RETURNED)
        report.event(EventKind.RETURNED, reason="the worker was stopped")

    def _identity(self, request: TestRequest, queue: QueueName) -> Identity:
        """Which request it is; waits while a living worker runs it."""
        delivery = self._delivery
        while True:
            found = self._insist(
                lambda: identify(
                    self._book, request, str(queue), delivery.body, redelivered=delivery.redelivered
                )
            )
            standing = found.standing
            if standing is None or standing.state is ClaimState.DONE or standing.void(self._book.lease):
                return found
            self._pause(_POLL)

    def _finish_other(self, request: TestRequest, standing: Claim, report: LiveReport) -> bool:
        """Finish what another worker left, if its result is stored; False if the request must run."""
        try:
            result = self._insist(lambda: stored_result(self._store, standing))
        except ResultError as error:
            log.warning("request %s: stored result: %s", standing.request_id, error.brief)
            result = None
        if result is None:
            self._insist(lambda: remove_unfinished(self._store, standing))
            return False
        log.info("request %s has run already", standing.request_id)
        report.stored(standing.container, standing.path, result.exit_code)
        self._tell(completion(standing.container, RunPath.parse(standing.path), result, request))
        return True

    def _publish(
        self, request: TestRequest, queue: QueueName, lease: LeaseKeeper, bundle: Bundle, report: LiveReport
    ) -> Settlement:
        request_id = lease.claim.request_id
        publication = Publication(self._store, request, queue, request_id)
        report.phase(PhaseTime(Phase.UPLOAD, time.time()))
        self._insist(publication.choose_container)
        path, result = self._in_order(publication, lease, bundle)
        self._insist(lambda: lease.advance(state=ClaimState.DONE))
        report.stored(publication.container, str(path), result.exit_code)
        self._tell(completion(publication.container, path, result, request))
        self._tools.metrics.stored(queue, result)
        shown = "private" if request.private else f"{request.package} {result.outcome}: {path}"
        log.info("request %s: %s", request_id, shown)
        return Settlement.ACK

    def _in_order(
        self, publication: Publication, lease: LeaseKeeper, bundle: Bundle
    ) -> tuple[RunPath, Result]:
        while True:
            try:
                return self._insist(lambda: self._in_turn(publication, lease, bundle))
            except TurnLost as error:
                log.warning("%s; waiting for another", error.brief)

    def _in_turn(
        self, publication: Publication, lease: LeaseKeeper, bundle: Bundle
    ) -> tuple[RunPath, Result]:
        """Store a run as the newest of its source. Raises TurnLost if another may have become that."""
        if lease.claim.path:  # the turn was lost: before or after the last object?
            result = self._insist(lambda: stored_result(self._store, lease.claim))
            if result is not None:
                return RunPath.parse(lease.claim.path), result
            self._insist(lambda: remove_unfinished(self._store, lease.claim))
        url = self._tools.settings.broker.url.get_secret_value()
        with Turn(url, publication.container, publication.siblings, self._cancelled) as turn:
            path = self._insist(publication.choose_path)
            place = {"container": publication.container, "path": str(path)}
            self._insist(lambda: lease.advance(state=ClaimState.STORING, **place))

            def still_ours() -> None:
                lease.advance()
                turn.check()

            return path, self._insist(lambda: publication.store(path, bundle, time.time, still_ours))

    def _tell(self, message: CompletionMessage | None) -> None:
        if message is not None:
            body = message.to_bytes()
            self._insist(lambda: self._publisher.publish(COMPLETION_EXCHANGE, "", body))

    def _book_in(self, store: SwiftStore) -> ClaimBook:
        worker = self._tools.settings.worker
        return ClaimBook(store, worker.name, worker.lease)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """The right to run something. After the broker came back, more deliveries than slots may wait."""
        while not self._tools.slots.acquire(timeout=0.2):
            self._pause(0)
        try:
            with self._tools.metrics.busy():
                yield
        finally:
            self._tools.slots.release()

    def _insist(self, action: Callable[[], T]) -> T:
        """Do it again until store and broker let us; raises CancelledRun if the worker is told to stop."""
        pause = 0.5
        while True:
            try:
                return action()
            except (StoreError, BrokerError) as error:
                log.warning("%s; trying again", error.brief)
                self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _pause(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise CancelledRun("the worker was told to stop")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a finished run to what others see of it: stored in its turn, noted in the claim, told."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from testyard.adapters.amqp import SharedPublisher
from testyard.errors import ResultError
from testyard.event import COMPLETION_EXCHANGE
from testyard.ports import Store
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.result import Result
from testyard.run import Phase, PhaseTime
from testyard.store import RunPath
from worker.claim import Claim, ClaimBook, ClaimState
from worker.execute import Bundle
from worker.insist import Insistence
from worker.lease import LeaseKeeper
from worker.live import LiveReport
from worker.order import TurnKeeper, TurnLost
from worker.publish import Publication, completion, remove_unfinished, stored_result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Storing:
    """One request's way into the store. Every method raises CancelledRun if the job is told to stop."""

    store: Store
    publisher: SharedPublisher
    keeper: TurnKeeper
    insist: Insistence
    cancelled: threading.Event
    request: TestRequest
    queue: QueueName
    report: LiveReport

    def publish(self, lease: LeaseKeeper, bundle: Bundle) -> Result:
        """Store a run and tell of it; returns the result as stored."""
        publication = Publication(self.store, self.request, self.queue, lease.claim.request_id)
        self.report.phase(PhaseTime(Phase.UPLOAD, time.time()))
        self.insist(publication.choose_container)
        path, result = self._in_order(publication, lease, bundle)
        self.insist(lease.complete)
        self._tell(publication.container, path, result)
        shown = "private" if self.request.private else f"{self.request.package} {result.outcome}: {path}"
        log.info("request %s: %s", lease.claim.request_id, shown)
        return result

    def finish(self, book: ClaimBook, key: str, standing: Claim) -> bool:
        """Finish what another worker left, if its result is stored; False if the request must run."""
        try:
            result = self.insist(lambda: stored_result(self.store, standing))
        except ResultError as error:
            log.warning("request %s: stored result: %s", standing.request_id, error.brief)
            result = None
        if result is None:
            self.insist(lambda: remove_unfinished(self.store, standing))
            return False
        log.info("request %s has run already", standing.request_id)
        # first: a later body without an id must not be taken for this request
        self.insist(lambda: book.renew(key, standing, state=ClaimState.DONE))
        self._tell(standing.container, RunPath.parse(standing.path), result)
        return True

    def _in_order(
        self, publication: Publication, lease: LeaseKeeper, bundle: Bundle
    ) -> tuple[RunPath, Result]:
        while True:
            try:
                return self.insist(lambda: self._in_turn(publication, lease, bundle))
            except TurnLost as error:
                log.warning("%s; waiting for another", error.brief)

    def _in_turn(
        self, publication: Publication, lease: LeaseKeeper, bundle: Bundle
    ) -> tuple[RunPath, Result]:
        """Store a run as the newest of its source. Raises TurnLost if another may have become that."""
        if lease.claim.path:  # the turn was lost: before or after the last object?
            result = self.insist(lambda: stored_result(self.store, lease.claim))
            if result is not None:
                return RunPath.parse(lease.claim.path), result
            self.insist(lambda: remove_unfinished(self.store, lease.claim))
        with self.keeper.turn(publication.container, publication.siblings, self.cancelled) as turn:
            path = self.insist(publication.choose_path)
            place = {"container": publication.container, "path": str(path)}
            self.insist(lambda: lease.advance(state=ClaimState.STORING, **place))

            def still_ours() -> None:
                lease.check()
                turn.check()

            return path, self.insist(lambda: publication.store(path, bundle, time.time, still_ours))

    def _tell(self, container: str, path: RunPath, result: Result) -> None:
        self.report.stored(container, str(path), result.exit_code)
        message = completion(container, path, result, self.request)
        if message is not None:
            body = message.to_bytes()
            self.insist(lambda: self.publisher.publish(COMPLETION_EXCHANGE, "", body))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps a claim alive while its run goes on."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import NoReturn

from testyard.errors import CancelledRun, StoreError
from worker.claim import Claim, ClaimBook, ClaimState

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews a claim three times a lease, in a thread of its own.

    If another worker has taken the request over, ``lost`` is true and ``cancelled`` is set. If
    somebody has cancelled the request, ``reason`` says why, and ``cancelled`` is set.
    """

    def __init__(self, book: ClaimBook, key: str, claim: Claim, cancelled: threading.Event) -> None:
        self._book = book
        self._key = key
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self.claim = claim
        self.lost = False
        self.reason: str | None = None

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def advance(self, **changes: object) -> None:
        """Note in the claim how far the run is.

        Raises StoreError, and CancelledRun if another worker has taken the request over.
        """
        with self._lock:
            renewed = None if self.lost else self._book.renew(self._key, self.claim, **changes)
            self.claim = renewed or self._lose()

    def check(self) -> None:
        """Make sure that the claim is ours, for a while to come. Raises as `advance`."""
        if time.time() - self.claim.renewed > self._book.lease / 2:  # the store was away
            self.advance()
            return
        with self._lock:
            if self.lost or not self._book.stands(self._key, self.claim):
                self._lose()

    def complete(self) -> None:
        """Note that the result is stored. That is so, whoever has taken over: it ends their run, too.

        Raises StoreError.
        """
        with self._lock:
            self.claim = self._book.note(self._key, self.claim, state=ClaimState.DONE)

    def _lose(self) -> NoReturn:
        self.lost = True
        self._cancelled.set()
        raise CancelledRun("another worker has taken the request over")

    def _keep(self) -> None:
        while not self._stop.wait(self._book.lease / 3):
            try:
                self.advance()
                self.reason = self._book.cancelled(self.claim.request_id)
            except StoreError as error:
                log.warning("claim not renewed: %s", error.brief)
            except CancelledRun:
                return
            if self.reason is not None:
                self._cancelled.set()
                return

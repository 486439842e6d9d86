# SPDX-License-Identifier: AGPL-3.0-or-later
"""Storing a finished run: log and artifacts first, ``result.tar`` last, and then the claim is done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from testyard.errors import ResultError, StoreError
from testyard.event import CompletionMessage
from testyard.ports import Store
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.result import Result, read_result_tar, write_result_tar
from testyard.run import Phase, PhaseTime, RunId
from testyard.store import (
    ARTIFACTS,
    LOG,
    READABLE_BY,
    RESULT,
    RunPath,
    is_private,
)
from worker.claim import Claim
from worker.container import SETTLE, ContainerChoice
from worker.execute import Bundle


class Publication:
    """Stores one run at one path. Each method raises StoreError and may be called again."""

    def __init__(
        self,
        store: Store,
        request: TestRequest,
        queue: QueueName,
        request_id: str,
        *,
        settle: float = SETTLE,
    ) -> None:
        self._new_choice = partial(ContainerChoice, store, request, queue.release, settle=settle)
        self._choice = self._new_choice()
        self._failed = False
        self._store = store
        self._request = request
        self._queue = queue
        self._id = request_id
        self.container = ""

    def choose_path(self) -> RunPath:
        """A place for a run that is complete now, behind all that are there (`worker.order`)."""
        if not self.container:
            self.choose_container()
        now = self._path(datetime.now(UTC))
        parent = now.parent
        this_second = f"{parent}{now.run_id.text[:15]}"
        names = self._store.names(self.container, prefix=parent, delimiter="@", marker=this_second)
        later = [time for name in names if (time := _time_of(name))]  # as other clocks see it, or this second
        if not later:
            return now
        try:
            return self._path(max(later) + timedelta(seconds=1))
        except OverflowError as error:
            raise StoreError(
                f"store: {self.container}/{names[-1]} is a run of a time after which there is none",
                resolution="Remove it: no run of this source can be newer.",
            ) from error

    def choose_container(self) -> None:
        """Choose ``container``, which is made if it is missing."""
        self.container = self._choice.choose()

    @property
    def siblings(self) -> RunPath:
        """Any path of the runs that are in order."""
        return self._path(datetime.now(UTC))

    def _path(self, when: datetime) -> RunPath:
        place = self._queue.release, self._queue.architecture
        run_id = RunId.make(when, self._request.body() + self._id.encode(), *place)
        return RunPath(*place, self._request.package, run_id)

    def store(
        self, path: RunPath, bundle: Bundle, clock: Callable[[], float], still_ours: Callable[[], None]
    ) -> Result:
        """Write all objects; returns the result as stored, with the time that storing took.

        ``still_ours`` is asked before the object that makes it a result: it raises if it is not.
        """
        if self._failed:
            self._find_container()
        self._failed = True
        started = clock()
        put = self._store.put
        put(
            self.container,
            path.file(LOG),
            bundle.log,
            content_type="text/plain; charset=UTF-8",
            content_encoding="gzip",
        )
        put(self.container, path.file(ARTIFACTS), bundle.artifacts, content_type="application/x-tar")
        if self._request.readable_by:
            names = "".join(f"{name}\n" for name in self._request.readable_by)
            put(self.container, path.file(READABLE_BY), names.encode())
        upload = PhaseTime(Phase.UPLOAD, started, clock() - started)
        still_ours()
        result = replace(bundle.result, phases=(*bundle.result.phases, upload))
        put(
            self.container,
            path.file(RESULT),
            write_result_tar(result),
            content_type="application/x-tar",
        )
        self._failed = False
        return result

    def _find_container(self) -> None:
        """Make the container again if somebody has removed it: else nothing could ever be stored."""
        chosen = self._new_choice().choose()
        if chosen != self.container:
            raise StoreError(f"store: container {self.container} is another reader's now")


def _time_of(name: str) -> datetime | None:
    """When the run was completed that a listing names; None for any other name."""
    with suppress(ResultError):
        return RunPath.parse(name).run_id.time
    return None


def stored_result(store: Store, claim: Claim) -> Result | None:
    """The result that a claim speaks of; None if it never got as far. Raises StoreError, ResultError."""
    if not claim.path:
        return None
    data = store.get(claim.container, RunPath.parse(claim.path).file(RESULT))
    return read_result_tar(data) if data else None


def remove_unfinished(store: Store, claim: Claim) -> None:
    """Remove what a dead worker stored of a run whose result it did not store. Raises StoreError."""
    if claim.path:
        for name in store.names(claim.container, prefix=f"{claim.path}/"):
            store.delete(claim.container, name)


def completion(
    container: str, path: RunPath, result: Result, request: TestRequest
) -> CompletionMessage | None:
    """The message that tells others; None for a private run."""
    if is_private(container):
        return None
    extras = {"all-proposed": "1" if request.all_proposed else None, "testname": request.testname}
    return CompletionMessage(
        release=path.release,
        architecture=path.architecture,
        package=path.source,
        container=container,
        swift_dir=str(path),
        exitcode=result.exit_code,
        duration=result.duration,
        testpkg_version=result.version,
        requester=result.requester,
        triggers=" ".join(result.triggers) or None,
        env=",".join(f"{key}={value}" for key, value in extras.items() if value),
        uuid=result.request_id,
    )

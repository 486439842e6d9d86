# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who runs a request: claims in the store, so that no request is run to its end twice.

The broker keeps a request until it is acknowledged, which happens after its result is stored. So a
request can come again while it runs (the broker was restarted) or after it has run (the worker died
before it could acknowledge). docs/delivery.md tells each case.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from testyard.cancel import cancelled
from testyard.errors import RequestError
from testyard.ports import Store
from testyard.request import TestRequest, new_request_id
from testyard.store import CLAIMS

#: Seconds after which the store forgets a claim: much longer than a broker keeps a delivery.
_FORGET = 30 * 86400


class ClaimState(StrEnum):
    """How far the claim's owner has come."""

    RUNNING = "running"
    STORING = "storing"
    DONE = "done"
    RETURNED = "returned"
    REMOVED = "removed"


@dataclass(frozen=True)
class Process:
    """A process, such that another on the same machine can tell whether it still lives."""

    boot: str
    namespace: int
    pid: int
    start: str

    @classmethod
    def current(cls) -> Process:
        """This one."""
        return cls(_boot_id(), _pid_namespace(), os.getpid(), _start_time(os.getpid()) or "")

    def surely_dead(self) -> bool:
        """True if it ran in our PID namespace since the last boot, and is gone."""
        if (self.boot, self.namespace) != (_boot_id(), _pid_namespace()):
            return False
        return _start_time(self.pid) != self.start


@dataclass(frozen=True)
class Claim:
    """One worker's claim on one request. ``renewed`` is Unix time, ``digest`` the body's sha256."""

    request_id: str
    worker: str
    process: Process
    state: ClaimState = ClaimState.RUNNING
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    renewed: float = field(default_factory=time.time)
    container: str = ""
    path: str = ""
    deaths: int = 0
    digest: str = ""

    def void(self, lease: float) -> bool:
        """True if the owner does not go on: it gave the request back, is gone, or silent for a lease (s)."""
        if self.state is ClaimState.RETURNED:
            return True
        return self.process.surely_dead() or time.time() - self.renewed > lease

    def to_bytes(self) -> bytes:
        """JSON, UTF-8."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Claim | None:
        """Read one; None if it is not one (then it claims nothing)."""
        try:
            value = json.loads(data)
            value["process"] = Process(**value["process"])
            value["state"] = ClaimState(value["state"])
            return cls(**value)
        except (ValueError, TypeError, KeyError):
            return None


class ClaimBook:
    """Claims in the store, for one worker."""

    def __init__(self, store: Store, worker: str, lease: float) -> None:
        self._store = store
        self._worker = worker
        self.lease = lease

    def read(self, key: str) -> Claim | None:
        """Whose the request is. Raises StoreError."""
        data = self._store.get(CLAIMS, key)
        return Claim.from_bytes(data) if data else None

    def below(self, folder: str) -> tuple[tuple[str, Claim], ...]:
        """All claims whose names begin so, with their names. Raises StoreError."""
        found = ((name, self.read(name)) for name in self._store.names(CLAIMS, prefix=folder))
        return tuple((name, claim) for name, claim in found if claim is not None)

    def take(self, key: str, request_id: str, *, digest: str = "", deaths: int = 0) -> Claim:
        """Claim a request, whoever had it. Raises StoreError.

        ``digest`` is its body's, ``deaths`` of workers have ended its runs.
        """
        claim = Claim(request_id, self._worker, Process.current(), digest=digest, deaths=deaths)
        self._store.ensure_container(CLAIMS)
        self._write(key, claim)
        return claim

    def renew(self, key: str, claim: Claim, **changes: object) -> Claim | None:
        """Say that the owner lives, and how far it is; None if another has taken the request over.

        Raises StoreError.
        """
        return self.note(key, claim, **changes) if self.stands(key, claim) else None

    def stands(self, key: str, claim: Claim) -> bool:
        """True unless another has taken the request over. Raises StoreError."""
        standing = self.read(key)
        return standing is None or standing.token == claim.token

    def note(self, key: str, claim: Claim, **changes: object) -> Claim:
        """Write the claim, whoever has taken the request over. Raises StoreError."""
        noted = replace(claim, renewed=time.time(), **changes)  # type: ignore[arg-type]
        self._write(key, noted)
        return noted

    def cancelled(self, request_id: str) -> str | None:
        """Why somebody has cancelled a request; None if nobody has. Raises StoreError."""
        return cancelled(self._store, request_id)

    def remove(self, key: str, request_id: str, digest: str) -> None:
        """Note that a message without an id is passed over. Raises StoreError."""
        claim = Claim(request_id, self._worker, Process.current(), ClaimState.REMOVED, digest=digest)
        self._write(key, claim)

    def _write(self, key: str, claim: Claim) -> None:
        self._store.put(CLAIMS, key, claim.to_bytes(), content_type="application/json", expire_after=_FORGET)


@dataclass(frozen=True)
class Identity:
    """Which request a delivery is of: its id, its claim's name, and the claim that stands, if any."""

    request_id: str
    key: str
    standing: Claim | None

    @property
    def deaths(self) -> int:
        """How many workers have died while they ran it."""
        if self.standing is None:
            return 0
        return self.standing.deaths + (self.standing.state is ClaimState.RUNNING)


def identify(
    book: ClaimBook, request: TestRequest, queue: str, digest: str, *, redelivered: bool
) -> Identity:
    """Find out which request a delivery is of; ``digest`` is its body's.

    A body without an id that is not redelivered is a new request, whatever claims equal bodies left.
    A redelivered one is a request that an equal body's claim is of: of one whose worker is gone, if
    there is any; else of one that runs; else of the one that ended last.
    Raises StoreError, and RequestError if the id is the one of a request with another body.
    """
    if request.uuid:
        key = f"{queue}/id/{request.uuid}"
        standing = book.read(key)
        if standing is not None and standing.digest not in ("", digest):
            raise RequestError("uuid", f"{request.uuid} is the id of another request in this queue")
        return Identity(request.uuid, key, standing)
    folder = f"{queue}/body/{digest}/"
    if redelivered:
        standing_ = (item for item in book.below(folder) if item[1].state is not ClaimState.REMOVED)
        claims = sorted(standing_, key=lambda item: _likelihood(item[1], book.lease))
        if claims:
            key, claim = claims[-1]
            return Identity(claim.request_id, key, claim)
    request_id = new_request_id()
    return Identity(request_id, f"{folder}{request_id}", None)


def _likelihood(claim: Claim, lease: float) -> tuple[int, float]:
    if claim.state is ClaimState.DONE:
        return 0, claim.renewed
    return (2 if claim.void(lease) else 1), claim.renewed


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _start_time(pid: int) -> str | None:
    """When a process started (clock ticks since boot: proc(5), stat field 22); None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]

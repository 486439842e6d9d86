# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose an instance is, written beside the instance: so that what is removed is what its owner left.

An owner is one worker's use of one host: the id of its work folder, which only one process has at a
time, and the host's name. It knows which of its runs go on, so any other instance of its own is left
over, at its next start too. Of other owners it knows only what they write: a time until which they
vouch for an instance, which they put off each hour.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Protocol, TypeVar

#: Seconds for which an owner vouches for an instance: 24 times the time between two renewals. No run
#: survives a worker that is cut off from the host for so long.
VOUCHED = 86400.0


class Vouching(Protocol):
    """An owner; ``name`` stands in what it starts."""

    name: str

    def vouch(self) -> None:
        """For what runs; what fails is logged."""


_Owner = TypeVar("_Owner", bound=Vouching)


class Owners:
    """One owner for each name, over reloads; every method may be called by any thread.

    A reload makes a host's testbed anew, or takes the host away; its runs go on, and are some owner's.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[type[Vouching], str], Vouching] = {}
        self._lock = threading.Lock()

    def kept(self, owner: _Owner) -> _Owner:
        """The one of its kind that has this one's name already, or else this one from now on."""
        with self._lock:
            found = self._known.setdefault((type(owner), owner.name), owner)
        assert isinstance(found, type(owner))
        return found

    def vouch(self) -> None:
        """For all that runs, also on hosts that a reload took away; what fails is logged."""
        with self._lock:
            known = tuple(self._known.values())
        for owner in known:
            owner.vouch()


def owner_name(work_dir: Path, host: str, worker: str) -> str:
    """The name of a worker's use of a host; the work folder gets an id if it has none. Raises OSError."""
    file = work_dir / "owner" / "id"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with open(made, "w") as opened:
            opened.write(secrets.token_hex(8))
    # the machine's name too: a folder may have been copied with all of the machine
    parts = (worker, socket.gethostname(), file.read_text().strip(), host)
    return "/".join("-".join(part.split()) for part in parts)


def vouched() -> str:
    """Until when an owner vouches, from now on: Unix time as text."""
    return str(int(time.time() + VOUCHED))


def expired(until: str) -> bool:
    """True if its owner vouches for it no more; a mark that is no time is none of ours."""
    try:
        return float(until) < time.time()
    except ValueError:
        return False

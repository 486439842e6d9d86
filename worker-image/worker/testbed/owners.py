# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who vouches for what runs on other machines, for as long as the worker's process lives.

A reload makes a host's testbed anew, or takes the host away; its runs go on, and are some owner's.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its module needs pylxd, which only workers with such a host load
    from worker.testbed.lxd_owner import Owner


class Owners:
    """One owner for each name, over reloads; every method may be called by any thread."""

    def __init__(self) -> None:
        self._known: dict[str, Owner] = {}
        self._lock = threading.Lock()

    def kept(self, owner: Owner) -> Owner:
        """The one that has this one's name already, or else this one from now on."""
        with self._lock:
            return self._known.setdefault(owner.name, owner)

    def vouch(self) -> None:
        """For all that runs, also on hosts that a reload took away; what fails is logged."""
        with self._lock:
            known = tuple(self._known.values())
        for owner in known:
            owner.vouch()

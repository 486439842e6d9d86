# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which container a run goes to, so that nobody reads another person's private run."""

from __future__ import annotations

import time

from testyard.errors import StoreError
from testyard.ports import Store
from testyard.request import TestRequest
from testyard.store import PUBLIC_READ, container_name, read_acl, reader_container

#: Seconds in which whoever made a container at the same moment has written its access list. The two
#: writes follow each other within 20 ms.
SETTLE = 1.0


class ContainerChoice:
    """One run's container: made if it is missing, and never with another reader's access list.

    Swift offers no "make only if missing" that also sets an access list. So a private container is made
    closed; Swift tells exactly one of several makers that it was the one, and only that one opens it.
    """

    def __init__(self, store: Store, request: TestRequest, release: str, *, settle: float = SETTLE) -> None:
        self._store = store
        self._name = container_name(release, request.ppas, private=request.private, from_git=request.from_git)
        self._private = request.private
        self._reader = request.swiftuser or ""
        self._settle = settle
        self._made = False

    def choose(self) -> str:
        """Its name. Raises StoreError, and may be called again."""
        if not self._private:
            self._store.ensure_container(self._name, read_acl=PUBLIC_READ)
            return self._name
        acl = read_acl(self._reader)
        if self._shared_acl(acl) == acl:
            return self._name
        own = reader_container(self._name, self._reader)
        self._store.ensure_container(own, read_acl=acl)
        if self._store.read_acl(own) != acl:
            raise StoreError(
                f"store: container {own} has another access list than {acl!r}",
                resolution="Somebody changed it: set its X-Container-Read to that, or remove it.",
            )
        return own

    def _shared_acl(self, ours: str) -> str:
        """Who may read the container that all private runs would share; made, for us, if it is missing."""
        self._made = self._made or self._store.create_container(self._name)
        if self._made:
            self._store.set_read_acl(self._name, ours)
            time.sleep(self._settle)  # should Swift have told two that they made it, the last one counts
        found = self._store.read_acl(self._name)
        if found == "" and not self._made:
            time.sleep(self._settle)  # its maker may be about to open it
            found = self._store.read_acl(self._name)
        return found

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose a LXD instance is, written in its own configuration (`worker.testbed.owners`)."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable

import pylxd
from pylxd.exceptions import LXDAPIException, NotFound
from pylxd.models import Instance

from testyard.errors import TestbedError
from worker.testbed.lxd_server import LxdServer
from worker.testbed.owners import expired, vouched

log = logging.getLogger(__name__)

#: Keys of an instance's configuration.
_OWNER, _RUN, _UNTIL = "user.testyard.owner", "user.testyard.run", "user.testyard.until"
#: Seconds between two looks after a run was killed, and until they end.
_LOOK, _LOOKS_END = 0.5, 60.0


class Owner:
    """One worker's use of one host. ``name`` stands in what it starts there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._running: dict[str, LxdServer] = {}
        self._lock = threading.Lock()

    def begin(self, server: LxdServer) -> tuple[str, tuple[str, ...]]:
        """A new run's token, and the options for `lxc launch` that mark its instance."""
        token = secrets.token_hex(8)
        with self._lock:
            self._running[token] = server
        marks = {_OWNER: self.name, _RUN: token, _UNTIL: vouched()}
        return token, tuple(word for key, value in marks.items() for word in ("-c", f"{key}={value}"))

    def end(self, token: str) -> None:
        """The run is over: an instance of it is left over from now on."""
        with self._lock:
            self._running.pop(token, None)

    def tidy(self, client: pylxd.Client, note: Callable[[str], None]) -> None:
        """Remove what is left over."""
        found = _instances(client)
        # asked for after the list was made: a run is known here before its instance exists
        with self._lock:
            running = frozenset(self._running)
        for instance in found:
            marks = instance.config
            if marks[_OWNER] != self.name:
                if expired(marks.get(_UNTIL, "")):
                    note(f"removing {instance.name}, which {marks[_OWNER]} left")
                    remove(instance)
            elif marks.get(_RUN) not in running:
                note(f"removing {instance.name}, left by a run that is over")
                remove(instance)

    def vouch(self) -> None:
        """For what runs, each on the server that it was started on; what fails is logged."""
        with self._lock:
            running = dict(self._running)
        for server in {(server.host.address, server.folder): server for server in running.values()}.values():
            try:
                with server.session() as client:
                    for instance in _instances(client):
                        if instance.config[_OWNER] == self.name and instance.config.get(_RUN) in running:
                            _renew(client, instance)
            except TestbedError as error:  # in an hour again, and 23 times more
                log.warning("host %s: nobody vouches for its runs: %s", server.host.name, error.brief)


def remove_run(client: pylxd.Client, token: str, *, killed: bool) -> None:
    """Remove the instances of a run.

    After a kill the server may still be busy with an order of the run's: it is asked until there has
    been nothing for a second.
    """
    deadline = time.monotonic() + _LOOKS_END
    quiet = 0
    while quiet < (2 if killed else 1) and time.monotonic() < deadline:
        found = [instance for instance in _instances(client) if instance.config.get(_RUN) == token]
        for instance in found:
            remove(instance)
        quiet = 0 if found else quiet + 1
        if killed or found:
            time.sleep(_LOOK)


def remove(instance: Instance) -> None:
    """Remove an instance, running or not; one that the server is busy with stays for now."""
    try:
        if instance.status != "Stopped":
            instance.stop(force=True, wait=True)  # an ephemeral one is gone then
        instance.delete(wait=True)
    except NotFound:
        return
    except LXDAPIException as error:
        busy = str(error).lower()
        if not any(word in busy for word in ("busy", "not found", "already")):
            raise


def _instances(client: pylxd.Client) -> list[Instance]:
    """All that carry an owner's mark, with their configuration: one question."""
    rows = client.api.instances.get(params={"recursion": 1}).json()["metadata"] or []
    return [
        Instance(client, name=row["name"], config=row["config"], status=row["status"])
        for row in rows
        if _OWNER in (row.get("config") or {})
    ]


def _renew(client: pylxd.Client, instance: Instance) -> None:
    try:
        client.api.instances[instance.name].patch(json={"config": {_UNTIL: vouched()}})
    except NotFound:
        return  # its run has just ended

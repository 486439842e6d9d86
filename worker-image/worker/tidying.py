# SPDX-License-Identifier: AGPL-3.0-or-later
"""Removes what dead workers left: their runs' folders here, and whatever testbeds leave on their hosts."""

from __future__ import annotations

import logging
import threading

from testyard.errors import TestbedError
from testyard.settings import Worker
from worker.execute import runs_folder
from worker.hosts import Host, HostPool
from worker.testbed.base import Workspace
from worker.testbed.owners import Owners

log = logging.getLogger(__name__)

#: Seconds between two looks at a host.
_EVERY = 3600.0


def clear_folders(settings: Worker, pool: HostPool) -> None:
    """Remove the folders of runs that a killed worker left; their requests come again."""
    hosts = {state.host.name: state.host for state in pool.states()}
    runs = runs_folder(settings, "")
    for place in runs.iterdir() if runs.is_dir() else ():
        # a host that the settings no longer name: another's testbed has to do
        host = hosts.get(place.name) or next(iter(hosts.values()))
        for folder in place.iterdir() if place.is_dir() else ():
            log.info("removing what a killed worker left: %s", folder.name)
            try:
                host.testbed.remove(Workspace(folder))
            except (
                TestbedError
            ) as error:  # its processes may still be dying; its name is used by no other run
                log.warning("%s stays for now: %s", folder, error.brief)


class Tidier(threading.Thread):
    """Has what runs vouched for, and each host tidied, at the start and each hour."""

    def __init__(self, pool: HostPool, owners: Owners) -> None:
        super().__init__(name="tidier", daemon=True)
        self._pool = pool
        self._owners = owners
        self._ended = threading.Event()

    def stop(self) -> None:
        """End; what is being removed is removed."""
        self._ended.set()

    def run(self) -> None:
        """Until `stop` is called."""
        while True:
            self._owners.vouch()
            for state in self._pool.states():
                _tidy(state.host)
            if self._ended.wait(_EVERY):
                return


def _tidy(host: Host) -> None:
    try:
        host.testbed.tidy(lambda text: log.info("host %s: %s", host.name, text))
    except TestbedError as error:
        log.warning("host %s: what dead workers left could not be removed: %s", host.name, error.brief)
    except Exception:  # the outermost place: other hosts are to be tidied, and this one in an hour
        log.exception("host %s: a bug", host.name)

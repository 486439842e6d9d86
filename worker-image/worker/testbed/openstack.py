# SPDX-License-Identifier: AGPL-3.0-or-later
"""Instances of an OpenStack cloud, one for each run, by autopkgtest's ssh runner.

No code of a test's runs here. The instance, with whatever the test did to it, is deleted afterwards.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from openstack.compute.v2.server import Server
from openstack.connection import Connection

from testyard.errors import LastingTestbedError, TestbedError
from testyard.hosts import OpenStackHost, SshHost
from testyard.settings import Worker
from worker.testbed import sshclient
from worker.testbed.account import Account
from worker.testbed.base import Command, Problem, Process, Workspace
from worker.testbed.cloud import PREFIX, Cloud, Order
from worker.testbed.cloud_config import new_keys, user_data
from worker.testbed.fitness import missing_programs, user_namespaces
from worker.testbed.owners import Owners, expired, owner_name, vouched
from worker.testbed.ssh import PROGRAMS, start_by_ssh

log = logging.getLogger(__name__)

#: Keys of an instance's metadata.
_OWNER, _RUN, _UNTIL = "testyard-owner", "testyard-run", "testyard-until"
#: Seconds for an answer while only problems are looked for.
_SOON = 4.0
#: Seconds between two tries to reach an instance that boots.
_LOOK = 2.0
#: Waits for cloud-init where there is one; 2 says that it met something it could live with.
_READY = (
    "if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null; "
    "code=$?; [ $code -eq 0 ] || [ $code -eq 2 ]; fi"
)


class CloudOwner:
    """One worker's use of one project. ``name`` stands in what it starts there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._running: dict[str, tuple[Cloud, str]] = {}
        self._lock = threading.Lock()

    def begin(self, cloud: Cloud) -> tuple[str, dict[str, str]]:
        """A new run's token, and the metadata that marks its instance."""
        token = secrets.token_hex(8)
        with self._lock:
            self._running[token] = (cloud, "")
        return token, {_OWNER: self.name, _RUN: token, _UNTIL: vouched()}

    def runs_in(self, token: str, cloud: Cloud, server_id: str) -> None:
        """The run has its instance."""
        with self._lock:
            self._running[token] = (cloud, server_id)

    def end(self, token: str) -> None:
        """The run is over: an instance of it is left over from now on."""
        with self._lock:
            self._running.pop(token, None)

    def tidy(self, cloud: Cloud, note: Callable[[str], None]) -> None:
        """Remove what is left over. Raises TestbedError."""
        with cloud.session() as session:
            found = cloud.instances(session)
            # asked for after the list was made: a run is known here before its instance exists
            with self._lock:
                running = frozenset(self._running)
            for server in found:
                marks = server.metadata or {}
                whose = marks.get(_OWNER, "")
                if whose == self.name and marks.get(_RUN) not in running:
                    note(f"deleting {server.name}, left by a run that is over")
                    cloud.delete(session, server.id)
                elif whose and whose != self.name and expired(marks.get(_UNTIL, "")):
                    note(f"deleting {server.name}, which {whose} left")
                    cloud.delete(session, server.id)

    def vouch(self) -> None:
        """See `worker.testbed.owners.Vouching`."""
        with self._lock:
            running = tuple(self._running.values())
        for cloud, server_id in running:
            if server_id:
                try:
                    with cloud.session() as session:
                        cloud.mark(session, server_id, **{_UNTIL: vouched()})
                except TestbedError as error:  # in an hour again, and 23 times more
                    log.warning("host %s: nobody vouches for a run: %s", cloud.host.name, error.brief)


class CloudProcess:
    """A run; its instance goes with it."""

    def __init__(self, run: Process, release: Callable[[], None]) -> None:
        self._run, self._release = run, release
        self.output = run.output

    def wait(self) -> int:
        """See `Process`."""
        try:
            return self._run.wait()
        finally:
            self._release()

    def kill(self) -> None:
        """See `Process`."""
        self._run.kill()


@dataclass(frozen=True)
class OpenStackTestbed:
    """See `worker.testbed.base.Testbed`."""

    host: OpenStackHost
    cloud: Cloud
    owner: CloudOwner
    account: Account
    source_dir: Path | None
    name: str = "openstack"
    disposable: bool = True
    vm: bool = True

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        found = (*missing_programs(PROGRAMS), *user_namespaces(self.account))
        if found:
            return found
        try:
            with self.cloud.session(_SOON) as session:
                return tuple(Problem(what, mend) for what, mend in self.cloud.problems(session))
        except TestbedError as error:
            return (Problem(error.brief, error.resolution),)

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`."""
        self.owner.tidy(self.cloud, note)

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`."""
        with self.cloud.session() as session:
            self.cloud.find_image(session, release, architecture)

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        token, marks = self.owner.begin(self.cloud)
        servers: list[str] = []
        try:
            with new_keys() as keys, self.cloud.session() as session:
                order = Order(
                    name=f"{PREFIX}{command.release}-{command.architecture}-{token[:8]}",
                    image=self.cloud.find_image(session, command.release, command.architecture),
                    flavor=self.cloud.find_flavor(session, big=command.big),
                    user_data=user_data(self.host, keys),
                    metadata=marks,
                )
                server = self.cloud.create(session, order, note, cancelled)
                servers.append(server.id)
                self.owner.runs_in(token, self.cloud, server.id)
                begun = time.monotonic()
                deadline = begun + self.host.boot_timeout
                place = keys.host_at(self.host, self.cloud.wait(session, server, deadline, cancelled))
                self._reach(session, server, place, deadline, cancelled)
                note(f"instance {server.name} is ready after {time.monotonic() - begun:.0f} s")
                run = start_by_ssh(
                    place,
                    workspace,
                    command,
                    cancelled,
                    account=self.account,
                    source_dir=self.source_dir,
                )
        except BaseException:
            self._release(token, servers)
            raise
        return CloudProcess(run, lambda: self._release(token, servers))

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.folder)

    def _reach(
        self,
        session: Connection,
        server: Server,
        place: SshHost,
        deadline: float,
        cancelled: Callable[[], bool],
    ) -> None:
        """Until it lets us in, and cloud-init is done."""
        while True:
            try:
                with sshclient.client(self.account, place) as folder:
                    left = max(deadline - time.monotonic(), 5)
                    sshclient.call(self.account, place, folder, _READY, timeout=left, cancelled=cancelled)
            except TestbedError as error:
                # also a key that is not known: before cloud-init has written ours, the image's may answer
                if time.monotonic() > deadline:
                    raise self.cloud.trouble(session, server, error.brief) from error
            else:
                return
            time.sleep(_LOOK)

    def _release(self, token: str, servers: list[str]) -> None:
        """Delete the run's instance; what cannot be now is by the next `tidy`."""
        try:
            with self.cloud.session() as session:
                for server_id in servers:
                    self.cloud.delete(session, server_id)
        except TestbedError as error:
            log.warning("host %s may still have a run's instance: %s", self.host.name, error.brief)
        finally:
            self.owner.end(token)


def openstack_testbed(
    host: OpenStackHost, settings: Worker, account: Account, owners: Owners
) -> OpenStackTestbed:
    """The testbed of a host. Raises TestbedError."""
    try:
        owned = owners.kept(CloudOwner(owner_name(settings.work_dir, host.name, settings.name)))
    except OSError as error:
        raise LastingTestbedError(
            f"the worker's folder cannot be written to: {error.strerror}",
            resolution="See to worker.work_dir.",
        ) from error
    return OpenStackTestbed(host, Cloud(host), owned, account, settings.source_dir)

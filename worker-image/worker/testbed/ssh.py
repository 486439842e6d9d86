# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests on another machine, by autopkgtest's ssh runner.

No code of a test's runs here. What comes from the host is only data, but autopkgtest unpacks it: so it
runs as an unprivileged account, in a file system of its own (`worker.testbed.sandbox`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import LastingTestbedError, TestbedError
from testyard.hosts import SshHost
from worker import process
from worker.testbed import sshclient
from worker.testbed.account import Account
from worker.testbed.base import Command, Problem, Process, Workspace
from worker.testbed.fitness import missing_programs, user_namespaces
from worker.testbed.sandbox import Inside, autopkgtest, local_sources, make_box, start_inside

log = logging.getLogger(__name__)

#: Seconds between two tries to reach a host that was brought back.
_LOOK = 2.0
#: Programs of autopkgtest's that a run uses are found here first.
_PATH = "/work/ssh:/usr/sbin:/usr/bin:/sbin:/bin"
#: In the environment of a test's processes: by it they are found if the run is killed.
_MARK = "TESTYARD_RUN"
#: Ends all processes whose environment has the first argument, as root if that can be had; removes what
#: autopkgtest left if there is a second one.
_SWEEP = """\
set -- {words}
for found in $(grep -lzs "^$1" /proc/[0-9]*/environ); do
    pid=${{found#/proc/}}
    kill -KILL "${{pid%/environ}}"
done
if [ $# -gt 1 ]; then rm -rf /tmp/autopkgtest.* /tmp/autopkgtest-run-wrapper; fi
"""
#: Programs and the packages that have them.
PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "newuidmap": "uidmap",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-add": "openssh-client",
    "ssh-agent": "openssh-client",
}


class SshProcess:
    """A run; what is killed here goes on over there, so it is ended there, too."""

    def __init__(self, run: Process, sweep: Callable[[], None]) -> None:
        self._run = run
        self._sweep = sweep
        self._killed = False
        self.output = run.output

    def wait(self) -> int:
        """See `Process`."""
        status = self._run.wait()
        if self._killed:
            self._sweep()
        return status

    def kill(self) -> None:
        """See `Process`."""
        self._killed = True
        self._run.kill()


def start_by_ssh(
    host: SshHost,
    workspace: Workspace,
    command: Command,
    cancelled: Callable[[], bool],
    *,
    account: Account,
    source_dir: Path | None,
    mark: str = "",
) -> Process:
    """autopkgtest with its ssh runner; ``mark``, a variable, is in the environment of a test's processes.

    Raises TestbedError, CancelledRun. The files of the host's keys are not needed any more afterwards.
    """
    box = make_box(account, workspace)
    folder = box / "ssh"
    folder.mkdir(mode=0o700)
    account.give(folder)
    sources = local_sources(source_dir, command)
    place = (f"--hostname={host.address}", f"--port={host.port}", f"--login={host.user}")
    able = (f"--capability={name}" for name in host.capabilities)
    words = autopkgtest(command, sources, "ssh", *place, *able)
    marks = (f"--env={mark}",) if mark else ()
    inside = Inside(("env", f"PATH={_PATH}", words[0], *marks, *words[1:]), stage="client", sources=sources)
    agent = sshclient.make_client(account, host, folder, "/work/ssh")
    return start_inside(account, box, inside, cancelled, (agent,))


@dataclass(frozen=True)
class SshTestbed:
    """See `worker.testbed.base.Testbed`."""

    host: SshHost
    account: Account
    source_dir: Path | None
    name: str = "ssh"
    vm: bool = False

    @property
    def disposable(self) -> bool:
        """See `Testbed`."""
        return bool(self.host.reset)

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        found = (*missing_programs(PROGRAMS), *user_namespaces(self.account))
        if found:
            return found
        try:
            sshclient.ask(self.account, self.host, timeout=4)
        except TestbedError as error:
            return (Problem(error.brief, error.resolution),)
        return ()

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`; what a run left on the host is removed before the next."""

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`; brings the host back if there is a program for that."""
        if self.host.reset:
            note(f"bringing host {self.host.name} back to a clean state")
            try:
                process.run(self.host.reset, timeout=self.host.reset_timeout, cancelled=cancelled)
            except TestbedError as error:
                error.resolution = f"See to the program `reset` of host {self.host.name}."
                raise
        answer = self._reach(cancelled)
        for word, found, wanted in (
            ("architecture", answer.architecture, architecture),
            ("release", answer.release, release),
        ):
            if found and found != wanted:
                raise LastingTestbedError(
                    f"host {self.host.name} has {word} {found}, the test is for {wanted}",
                    resolution=f'Set {word}s = ["{found}"] for this host in worker.hosts.',
                )
        if not self.host.reset:
            self._sweep(_MARK, "all")

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        mark = f"{_MARK}={secrets.token_hex(8)}"
        run = start_by_ssh(
            self.host,
            workspace,
            command,
            cancelled,
            account=self.account,
            source_dir=self.source_dir,
            mark=mark,
        )
        return SshProcess(run, lambda: self._sweep(mark))

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.folder)

    def _reach(self, cancelled: Callable[[], bool]) -> sshclient.Answer:
        """Ask it; one that was just brought back has time to start."""
        deadline = time.monotonic() + (self.host.reset_timeout if self.host.reset else 0)
        while True:
            try:
                return sshclient.ask(self.account, self.host, cancelled=cancelled)
            except LastingTestbedError:
                raise
            except TestbedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK)

    def _sweep(self, *words: str) -> None:
        script = _SWEEP.format(words=" ".join(words))
        asked = f"if sudo -n true 2>/dev/null; then sudo -n sh -c '{script}'; else {script} fi"
        try:
            with sshclient.client(self.account, self.host) as folder:
                sshclient.call(self.account, self.host, folder, asked)
        except TestbedError as error:
            log.warning("host %s may still have processes of a killed run: %s", self.host.name, error.brief)

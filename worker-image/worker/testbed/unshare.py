# SPDX-License-Identifier: AGPL-3.0-or-later
"""The default testbed: autopkgtest's unshare runner, inside namespaces of our own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import CancelledRun, TestbedError
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.account import Account
from worker.testbed.base import (
    ENTER,
    PYTHON,
    Command,
    PlainProcess,
    Problem,
    Process,
    Workspace,
    output_pipe,
    source_arguments,
)
from worker.testbed.fitness import missing_programs, tun_device, user_namespaces
from worker.testbed.network import Network, attach_network, own_addresses
from worker.testbed.resolver import machine_resolver
from worker.testbed.tree import TreeCache

#: Seconds until the namespaces must be made, and between two looks at whether that is still wanted.
#: Seen: 0.1, and 2 on a machine with ten times more to do than processors.
_LIMIT = 60.0
_LOOK = 0.2

#: Program → Debian package that brings it.
_PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "pasta": "passt",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}

#: A user namespace whose root is the account and whose other users are its sub-ids, with
#: everything else of its own too; when unshare dies, the first process inside is killed, and with
#: it all others.
_NAMESPACES = (
    "unshare",
    "--user",
    "--map-auto",
    "--map-root-user",
    "--mount",
    "--net",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
)


@dataclass(frozen=True)
class UnshareTestbed:
    """See `worker.testbed.base.Testbed`."""

    account: Account
    trees: TreeCache
    source_dir: Path | None
    max_processes: int
    name: str = "unshare"
    disposable: bool = True
    vm: bool = False

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        return (*missing_programs(_PROGRAMS), *user_namespaces(self.account), *tun_device())

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`; its processes end with the worker, and its folders are the worker's."""

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`."""
        if problem := machine_resolver(own_addresses()).problem:
            note(f"names cannot be resolved in the testbed: {problem}")
        if not self.trees.fresh(release, architecture):
            note(f"making a root tree for {release} {architecture}; this takes 20 to 40 s, once a day")
        self.trees.get(release, architecture, cancelled)

    def start(self, workspace: Workspace, command: Command, cancelled: Callable[[], bool]) -> Process:
        """See `Testbed`."""
        box = workspace.out.parent
        (box / "tmp").mkdir(parents=True)
        for path in (box, *box.rglob("*")):  # nothing of a test is in it yet
            self.account.give(path)
        reader, writer = output_pipe((self.account.uid, self.account.gid) if self.account.switch else None)
        try:
            child = subprocess.Popen(
                self._argv(box, command),
                stdin=subprocess.PIPE,
                stdout=writer,
                stderr=writer,
                env=CLEAN_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(writer)
        try:
            return PlainProcess(child, reader, (self._connect(child, reader, cancelled),))
        except BaseException:
            child.kill()
            child.wait()
            os.close(reader)
            raise

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.folder)

    def _connect(self, child: subprocess.Popen[bytes], output: int, cancelled: Callable[[], bool]) -> Network:
        """Wait for the sandbox, connect it, let it go on; returns the network's process."""
        assert child.stdin
        _wait_ready(output, cancelled)
        addresses = own_addresses()
        resolver = machine_resolver(addresses)
        order = {
            "own_addresses": addresses,
            "resolv_conf": resolver.text,
            "processes": self.max_processes,
        }
        network = attach_network(self.account, _only_child(child.pid), resolver)
        try:
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.close()
        except OSError:
            network.end()
            raise
        return network

    def _argv(self, box: Path, command: Command) -> list[str]:
        tree = self.trees.path(command.release, command.architecture)
        sources = self.source_dir
        local = sources / command.package if sources and not command.git_source else None
        known = local is not None and local.is_dir()
        autopkgtest = [
            "autopkgtest",
            "--output-dir=/work/out",
            *(option.replace(f"--copy={box}/", "--copy=/work/") for option in command.options),
            *source_arguments(command, Path("/sources") / command.package if known else None),
            "--",
            "unshare",
            f"--release={command.release}",
            "--tarball=/tree.tar",
        ]
        paths = [str(box), str(tree), str(sources) if known else ""]
        enter = (*PYTHON, str(ENTER))
        if not self.account.switch:
            return self.account.argv(*_NAMESPACES, *enter, "sandbox", *paths, "--", *autopkgtest)
        inside = self.account.argv(*_NAMESPACES, *enter, "sandbox", "WORK", "", "", "--", *autopkgtest)
        return ["unshare", "--mount", *enter, "prepare", *paths, "--", *inside]


def _wait_ready(output: int, cancelled: Callable[[], bool]) -> None:
    """Read up to the sandbox's word that it is made."""
    said = b""
    deadline = time.monotonic() + _LIMIT
    while not said.endswith(b"ready\n"):
        if cancelled():
            raise CancelledRun("the worker was told to stop")
        chunk = os.read(output, 4096) if select.select([output], [], [], _LOOK)[0] else None
        said += chunk or b""
        if chunk == b"" or time.monotonic() > deadline:
            late = f" within {_LIMIT:.0f} s" if chunk != b"" else ""
            raise TestbedError(
                f"the testbed's namespaces could not be made{late}",
                details=said.decode(errors="replace"),
                resolution="Run `testyard doctor`; user namespaces must be allowed on this machine.",
            )


def _only_child(pid: int) -> int:
    """The process that leads the new namespaces, by its number here."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(children) != 1:
        raise TestbedError(f"the testbed has {len(children)} first processes, not one")
    return int(children[0])

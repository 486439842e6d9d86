# SPDX-License-Identifier: AGPL-3.0-or-later
"""The default testbed: autopkgtest's unshare runner, inside namespaces of our own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import TestbedError
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.account import Account
from worker.testbed.base import Command, PlainProcess, Process, Workspace, output_pipe, source_arguments
from worker.testbed.network import attach_network
from worker.testbed.tree import TreeCache

_ENTER = Path(__file__).with_name("enter.py")
_PYTHON = ("/usr/bin/python3", "-I")

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
    name: str = "unshare"
    disposable: bool = True

    def prepare(self, release: str, architecture: str, note: Callable[[str], None]) -> None:
        """See `Testbed`."""
        if not self.trees.fresh(release, architecture):
            note(f"making a root tree for {release} {architecture}; this takes 20 to 40 s, once a day")
        self.trees.get(release, architecture)

    def start(self, workspace: Workspace, command: Command) -> Process:
        """See `Testbed`."""
        box = workspace.out.parent
        (box / "tmp").mkdir(parents=True)
        for folder in (box, box / "tmp"):
            self.account.give(folder)
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
        return PlainProcess(child, reader, (self._connect(child, reader),))

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.folder)

    def _connect(self, child: subprocess.Popen[bytes], output: int) -> subprocess.Popen[bytes]:
        """Wait for the sandbox, connect it, let it go on; returns the network's process."""
        assert child.stdin
        said = b""
        while not said.endswith(b"ready\n"):
            chunk = os.read(output, 4096)
            said += chunk
            if not chunk:
                child.wait()
                os.close(output)
                raise TestbedError(
                    "the testbed's namespaces could not be made",
                    details=said.decode(errors="replace"),
                    resolution="Run `testyard doctor`; user namespaces must be allowed on this machine.",
                )
        try:
            network = attach_network(self.account, _only_child(child.pid))
            child.stdin.write(b"go\n")
            child.stdin.close()
        except (TestbedError, OSError) as error:
            child.kill()
            child.wait()
            os.close(output)
            raise TestbedError(f"the testbed could not be started: {error}") from error
        return network

    def _argv(self, box: Path, command: Command) -> list[str]:
        tree = self.trees.path(command.release, command.architecture)
        sources = self.source_dir
        local = sources / command.package if sources and not command.git_source else None
        known = local is not None and local.is_dir()
        autopkgtest = [
            "autopkgtest",
            "--output-dir=/work/out",
            *command.options,
            *source_arguments(command, Path("/sources") / command.package if known else None),
            "--",
            "unshare",
            f"--release={command.release}",
            "--tarball=/tree.tar",
        ]
        paths = [str(box), str(tree), str(sources) if known else ""]
        enter = (*_PYTHON, str(_ENTER))
        if not self.account.switch:
            return self.account.argv(*_NAMESPACES, *enter, "sandbox", *paths, "--", *autopkgtest)
        inside = self.account.argv(*_NAMESPACES, *enter, "sandbox", "WORK", "", "", "--", *autopkgtest)
        return ["unshare", "--mount", *enter, "prepare", *paths, "--", *inside]


def _only_child(pid: int) -> int:
    """The process that leads the new namespaces, by its number here."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(children) != 1:
        raise TestbedError(f"the testbed has {len(children)} first processes, not one")
    return int(children[0])

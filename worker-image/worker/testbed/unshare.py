# SPDX-License-Identifier: AGPL-3.0-or-later
"""Testbeds made of a root tree, inside namespaces of our own: by default autopkgtest's unshare runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from worker.testbed.account import Account
from worker.testbed.base import Command, Problem, Process, Workspace
from worker.testbed.fitness import missing_programs, tun_device, user_namespaces
from worker.testbed.network import own_addresses
from worker.testbed.resolver import machine_resolver
from worker.testbed.sandbox import Inside, autopkgtest, local_sources, make_box, start_inside
from worker.testbed.tree import TreeCache

#: Program → Debian package that brings it.
_PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "pasta": "passt",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def unshare_runner(command: Command, tree: Path, sources: Path | None) -> Inside:
    """The runner that unpacks the tree itself and makes namespaces in ours."""
    runner = ("unshare", f"--release={command.release}", "--tarball=/tree")
    return Inside(autopkgtest(command, sources, *runner), tree=tree, sources=sources)


@dataclass(frozen=True)
class UnshareTestbed:
    """See `worker.testbed.base.Testbed`. ``runner`` says what runs inside, given the tree and the sources."""

    account: Account
    trees: TreeCache
    source_dir: Path | None
    max_processes: int
    name: str = "unshare"
    runner: Callable[[Command, Path, Path | None], Inside] = unshare_runner
    disposable: bool = True
    vm: bool = False

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        found = (*missing_programs(_PROGRAMS), *user_namespaces(self.account), *tun_device())
        runner = f"autopkgtest-virt-{self.name}"
        if not missing_programs({runner: ""}) or missing_programs({"autopkgtest": ""}):
            return found
        mend = 'install autopkgtest 5.22 or later, or set testbed = "chroot" for this host'
        return (*found, Problem(f"this machine's autopkgtest has no {self.name} runner", mend))

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

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        tree = self.trees.path(command.release, command.architecture)
        inside = self.runner(command, tree, local_sources(self.source_dir, command))
        inside = replace(inside, processes=self.max_processes)
        return start_inside(self.account, make_box(self.account, workspace), inside, cancelled)

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.folder)

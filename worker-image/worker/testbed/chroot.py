# SPDX-License-Identifier: AGPL-3.0-or-later
"""autopkgtest's chroot runner, for machines whose autopkgtest has no unshare runner (before 5.22)."""

from __future__ import annotations

from pathlib import Path

from worker.testbed.account import Account
from worker.testbed.base import Command
from worker.testbed.enter import ROOT, USER
from worker.testbed.sandbox import Inside, autopkgtest
from worker.testbed.tree import TreeCache
from worker.testbed.unshare import UnshareTestbed

#: Each of the runner's commands has namespaces of its own in the run's, as with the unshare runner: its
#: root has no right to our mounts, no test sees autopkgtest, and what a test leaves behind ends with it.
_NAMESPACES = (
    "unshare",
    "--user",
    "--map-auto",
    "--map-root-user",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
    f"--mount-proc={ROOT}/proc",
)


def chroot_runner(command: Command, tree: Path, sources: Path | None) -> Inside:
    """The runner in a tree that enter.py has unpacked for this run."""
    runner = ("chroot", f"--gain-root={' '.join(_NAMESPACES)}", ROOT)
    words = autopkgtest(command, sources, *runner)
    return Inside((words[0], f"--user={USER}", *words[1:]), stage="chroot", tree=tree, sources=sources)


def chroot_testbed(
    account: Account, trees: TreeCache, source_dir: Path | None, max_processes: int
) -> UnshareTestbed:
    """The same testbed as the default one, with the other runner."""
    return UnshareTestbed(account, trees, source_dir, max_processes, name="chroot", runner=chroot_runner)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""No testbed at all: tests run on this machine. For trusted packages and for the tests of Testyard."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker import process
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed.base import (
    Command,
    PlainProcess,
    Problem,
    Process,
    Workspace,
    output_pipe,
    source_arguments,
)
from worker.testbed.fitness import missing_programs, source_packages


@dataclass(frozen=True)
class NullTestbed:
    """See `worker.testbed.base.Testbed`."""

    source_dir: Path | None
    name: str = "null"
    disposable: bool = False
    vm: bool = False

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        missing = missing_programs({"autopkgtest": "autopkgtest", "unshare": "util-linux"})
        return missing if self.source_dir else (*missing, *source_packages())

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`; folders are all that it leaves."""

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`."""
        note("testbed null: the test runs on the worker's machine, unprotected")

    def start(self, workspace: Workspace, command: Command, cancelled: Callable[[], bool]) -> Process:
        """See `Testbed`."""
        box = workspace.out.parent
        (box / "tmp").mkdir(parents=True)
        local = self.source_dir / command.package if self.source_dir else None
        argv = [
            *_own_processes(),
            "autopkgtest",
            f"--output-dir={workspace.out}",
            *command.options,
            *source_arguments(command, local if local and local.is_dir() else None),
            "--",
            "null",
        ]
        reader, writer = output_pipe()
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env={**CLEAN_ENVIRONMENT, "TMPDIR": str(box / "tmp"), "HOME": str(box)},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(writer)
        return PlainProcess(child, reader)

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        _remove(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        _remove(workspace.folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        process.run(["rm", "-rf", "--one-file-system", "--", str(folder)])


def _own_processes() -> list[str]:
    """A PID namespace for the run: when the worker dies, all of the run dies with it."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        unshare[1:1] = ["--user", "--map-current-user"]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, *_first_process()]


def _first_process() -> list[str]:
    """Waits for autopkgtest and tells how it ended: unshare 2.38 ends with 1 if what it waits for is killed.

    autopkgtest reads the account's profile, which is its owner's and no part of a test. Seen: pyenv's
    took a lock there; a run that was killed meanwhile left it, and each later one waited 60 s.
    """
    profile = Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".profile"
    without = 'mount --bind /dev/null "$0" && ' if profile.is_file() else ""
    return ["sh", "-c", f'{without}{{ "$@"; exit $?; }}', str(profile)]

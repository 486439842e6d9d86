# SPDX-License-Identifier: AGPL-3.0-or-later
"""No testbed at all: tests run on this machine. For trusted packages and for the tests of Testyard."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Sequence
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

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        box = workspace.out.parent
        (box / "tmp").mkdir(parents=True)
        local = self.source_dir / command.package if self.source_dir else None
        local = local if local and local.is_dir() else None
        argv = [
            *_in_namespaces([workspace.folder, *([local] if local else [])]),
            "autopkgtest",
            f"--output-dir={workspace.out}",
            *command.options,
            *source_arguments(command, local),
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


def _in_namespaces(visible: Sequence[Path]) -> list[str]:
    """Namespaces for the run: when the worker dies, all of the run dies with it."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    become: list[str] = []
    if os.geteuid() != 0:  # root for the mounts, then again who it was
        unshare[1:1] = ["--user", "--map-root-user"]
        become = ["unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}", "--"]
    folders = [str(path) for path in visible if path.is_relative_to("/tmp")]  # noqa: S108
    profile = Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".profile"
    first = ["sh", "-c", _FIRST_PROCESS, "sh", str(profile), str(len(folders)), *folders]
    return ["setpriv", "--pdeathsig", "KILL", *unshare, *first, *become]


#: Makes the mounts, waits for autopkgtest and tells how it ended: unshare 2.38 ends with 1 if what it waits
#: for is killed. Arguments: the profile, how many folders stay to be seen, these, the command.
#:
#: * The account's profile is its owner's and no part of a test, but autopkgtest reads it. Seen: pyenv's took
#:   a lock there; a run that was killed meanwhile left it, and each later one waited 60 s.
#: * autopkgtest 5.28 has one name for all runs, /tmp/autopkgtest_script_pid. Seen, in one of 150 runs beside
#:   others: two made it at once, and one hung until its time was up. So each run has a /tmp of its own.
_FIRST_PROCESS = """
set -e
if [ -f "$1" ]; then mount --bind /dev/null "$1"; fi
count=$2
shift 2
mkdir -m 1777 "$TMPDIR/own"
while [ "$count" -gt 0 ]; do
    mkdir -p "$TMPDIR/own/${1#/tmp/}"
    mount --rbind "$1" "$TMPDIR/own/${1#/tmp/}"
    count=$((count - 1))
    shift
done
mount --rbind "$TMPDIR/own" /tmp
set +e
"$@"
exit $?
"""

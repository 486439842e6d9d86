# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker whose testbed is a stand-in: a test of no length, with the output of a real one.

``python -m tests.bench.standin FOLDER`` is ``python -m worker`` but for that. FOLDER holds what
`record` put there. All else is real: a process and a pipe for each test, files, store, messages.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker import __main__ as worker
from worker.process import CLEAN_ENVIRONMENT
from worker.testbed import kinds
from worker.testbed.base import Command, PlainProcess, Problem, Process, Workspace, output_pipe
from worker.testbed.null import NullTestbed

PACKAGE = "ty-pass"
_SCRIPT = Path(__file__).with_name("standin.sh")


@dataclass(frozen=True)
class StandIn:
    """See `worker.testbed.base.Testbed`. ``recorded`` holds an output directory and a log."""

    recorded: Path
    name: str = "null"
    disposable: bool = False
    vm: bool = False

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        return ()

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`."""

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`."""

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        workspace.out.parent.mkdir()
        reader, writer = output_pipe()
        try:
            child = subprocess.Popen(
                ["sh", str(_SCRIPT), str(self.recorded), str(workspace.out), command.package],
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=CLEAN_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(writer)
        return PlainProcess(child, reader)

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        NullTestbed(None).empty(workspace)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        NullTestbed(None).remove(workspace)


def record(packages: Path, folder: Path) -> None:
    """Run a real test once, and keep its output directory and its log."""
    folder.mkdir()
    autopkgtest(packages / PACKAGE, folder)


def autopkgtest(package: Path, folder: Path, *options: str) -> None:
    """autopkgtest alone, on this machine; ``out`` and ``log`` in the folder are what it left."""
    with (folder / "log").open("wb") as log:
        subprocess.run(
            ["autopkgtest", f"--output-dir={folder}/out", *options, "-B", f"{package}/", "--", "null"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**CLEAN_ENVIRONMENT, "HOME": str(folder)},
            cwd="/",
            check=True,
        )


def main() -> int:
    """A worker, configured as any other."""
    recorded = Path(sys.argv.pop())
    kinds.make_testbed = lambda *_: StandIn(recorded)
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs a package of ours in a testbed, without a worker around it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testyard.local.machine import machine_architecture, machine_release
from worker.output import exit_code_of
from worker.testbed.base import Command, Process, Testbed, Workspace


@dataclass
class Run:
    """A run that has begun; ``said`` is its log so far."""

    process: Process
    workspace: Workspace
    said: str = field(default="")

    def until(self, text: str) -> None:
        """Read until it has said this."""
        while text not in self.said:
            chunk = os.read(self.process.output, 1 << 16)
            assert chunk, self.said
            self.said += chunk.decode(errors="replace")

    def end(self) -> int:
        """Read to the end; gives autopkgtest's exit code."""
        while chunk := os.read(self.process.output, 1 << 16):
            self.said += chunk.decode(errors="replace")
        return exit_code_of(self.process.wait())


@contextmanager
def started(testbed: Testbed, folder: Path, package: str, *options: str, big: bool = False) -> Iterator[Run]:
    """A run for this machine's release and architecture; its folder is gone afterwards."""
    workspace = Workspace(folder / f"run-{package}")
    workspace.folder.mkdir(mode=0o711)
    command = Command(machine_release(), machine_architecture(), package, options, big=big)
    yield Run(testbed.start(workspace, command, print, lambda: False), workspace)
    testbed.remove(workspace)
    assert not workspace.folder.exists()


def prepared(testbed: Testbed) -> list[str]:
    """What `prepare` notes."""
    notes: list[str] = []
    testbed.prepare(machine_release(), machine_architecture(), notes.append, lambda: False)
    return notes


def ran(testbed: Testbed, folder: Path, package: str, *options: str) -> tuple[int, str]:
    """A run's exit code and log."""
    prepared(testbed)
    with started(testbed, folder, package, *options) as run:
        return run.end(), run.said

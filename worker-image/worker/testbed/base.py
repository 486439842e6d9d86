# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every kind of testbed offers the job."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from testyard.errors import TestbedError

#: What runs inside new namespaces, by the system's own Python, alone.
ENTER = Path(__file__).with_name("enter.py")
PYTHON = ("/usr/bin/python3", "-I")


@dataclass(frozen=True)
class Workspace:
    """A run's folder. autopkgtest's output directory is ``out`` in it; ``log`` is ours."""

    folder: Path

    @property
    def out(self) -> Path:
        """autopkgtest's output directory; hostile: test code decides what is in it."""
        return self.folder / "box" / "out"

    @property
    def log(self) -> Path:
        """The log as the worker heard it; out of the testbed's reach."""
        return self.folder / "log"


@dataclass(frozen=True)
class Command:
    """How to call autopkgtest for one run; the testbed adds the output directory and itself.

    ``vm``: in a virtual machine, where the testbed has a choice. ``big``: with more processors, memory
    and room than others.
    """

    release: str
    architecture: str
    package: str
    options: tuple[str, ...] = ()
    git_source: tuple[str, ...] = ()
    vm: bool = False
    big: bool = False


@dataclass(frozen=True)
class Problem:
    """Why a testbed cannot be started, and how that is mended."""

    what: str
    mend: str


class Testbed(Protocol):
    """A kind of testbed, on one host."""

    @property
    def name(self) -> str:
        """The runner's name, as in ``autopkgtest … -- NAME``."""

    @property
    def disposable(self) -> bool:
        """True if packages may be upgraded in it: it is thrown away afterwards."""

    @property
    def vm(self) -> bool:
        """True if it can be a virtual machine."""

    def problems(self) -> Sequence[Problem]:
        """What keeps testbeds from being started, found within 5 s; empty if all is well."""

    def tidy(self, note: Callable[[str], None]) -> None:
        """Remove what dead workers left on the host, never what a living owner has. Raises TestbedError."""

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """Make sure that a testbed can be started; tells ``note`` what takes long.

        Raises TestbedError; CancelledRun soon after ``cancelled`` says true.
        """

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """Start autopkgtest; tells ``note`` what takes long before it.

        Raises TestbedError; CancelledRun soon after ``cancelled`` says true.
        """

    def empty(self, workspace: Workspace) -> None:
        """Remove what the testbed left in the run's folder; the worker's own files stay."""

    def remove(self, workspace: Workspace) -> None:
        """Remove the run's folder with everything that the testbed left in it."""


class Process(Protocol):
    """A run of autopkgtest. Its output, both streams in one, is read from ``output``."""

    output: int

    def wait(self) -> int:
        """The exit code once it has ended; nothing of the run lives on after that.

        Raises TestbedError if something that the run needed had ended before it.
        """

    def kill(self) -> None:
        """End it and all that it started, at once."""


def source_arguments(command: Command, local: Path | None) -> Sequence[str]:
    """autopkgtest's words for what to test: a repository, a folder, or a package of the archive."""
    if command.git_source:
        return command.git_source
    if local is not None:
        return ("--no-built-binaries", f"{local}/")
    return (command.package,)


def output_pipe(owner: tuple[int, int] | None = None) -> tuple[int, int]:
    """A pipe for a run's output: the end to read from, the end to write to.

    autopkgtest opens /dev/stderr anew, which only the pipe's owner may: so it is given away.
    """
    reader, writer = os.pipe()
    if owner:
        os.fchown(writer, *owner)
    return reader, writer


class Helper(Protocol):
    """What a run needs beside its own processes."""

    def end(self) -> str:
        """End it; says why if it had ended by itself, else nothing."""


class PlainProcess:
    """A process whose death takes its whole process tree along (it leads a PID namespace)."""

    def __init__(self, child: subprocess.Popen[bytes], output: int, helpers: Sequence[Helper] = ()) -> None:
        self._child = child
        self._helpers = helpers
        self.output = output

    def wait(self) -> int:
        """See `Process`."""
        trouble = []
        try:
            status = self._child.wait()
        finally:
            trouble = [said for helper in self._helpers if (said := helper.end())]
            os.close(self.output)
        if trouble:
            raise TestbedError("\n".join(trouble))
        return status

    def kill(self) -> None:
        """See `Process`."""
        self._child.kill()

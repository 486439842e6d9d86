# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a root tree is made: by mmdebstrap, from this machine's own archives, without root's rights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker import aptsources, process
from worker.testbed.account import Account
from worker.testbed.base import ENTER, PYTHON
from worker.testbed.sandbox import NAMESPACES

#: The lists stay compressed and in the tree: without them apt would say that there is no source
#: package index. Documentation and translations are 40 of 230 MB and no test may rely on them.
_APT_OPTIONS = (
    'Apt::Install-Recommends "false"',
    'Acquire::GzipIndexes "true"',
    'Acquire::Languages "none"',
    # a connection that stands still is given up and tried again, long before autopkgtest's limits
    'Acquire::Retries "3"',
    'Acquire::http::Timeout "20"',
)
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "force-unsafe-io",
)
#: What every testbed needs to have.
_PACKAGES = ("dpkg-dev", "ca-certificates", "passwd", "adduser")
#: Where enter.py's `prepare` puts a folder that the account could not reach by its own path.
_STAGED = Path("/mnt/work")
#: Seconds for one step.
_LIMIT = 1800


@dataclass(frozen=True)
class Making:
    """Something that is being made in ``scratch``, which is the account's."""

    account: Account
    scratch: Path
    release: str
    architecture: str
    cancelled: Callable[[], bool]

    @property
    def place(self) -> Path:
        """Where the folder is for a program that `run` runs."""
        return _STAGED if self.account.switch else self.scratch

    def run(self, *words: str) -> None:
        """Run a program as root of a user namespace as a testbed's; it dies when the worker dies.

        Raises TestbedError; CancelledRun soon after ``cancelled`` says true.
        """
        surroundings = ("env", f"TMPDIR={self.place}", f"HOME={self.place}")
        command = self.account.argv(*NAMESPACES, "--mount-proc", *surroundings, *words)
        if self.account.switch:
            enter = [*PYTHON, str(ENTER), "prepare", str(self.scratch), "", "", "--"]
            command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", *enter, *command]
        process.run(command, timeout=_LIMIT, cancelled=self.cancelled)

    def mmdebstrap(self, target: str, packages: Sequence[str] = (), hooks: Sequence[str] = ()) -> None:
        """Make a root tree as ``target``, a tar file or a folder. Raises as `run` does."""
        # as words, not as a file of theirs: so they come into sources.list, which autopkgtest 5.28 needs
        # to be there for a pocket
        lines = aptsources.sources_lines(aptsources.machine_sources(self.release))
        apt = (*_APT_OPTIONS, *aptsources.kept_options())
        self.run(
            "mmdebstrap",
            "--mode=root",  # of the namespaces
            "--variant=apt",
            f"--architectures={self.architecture}",
            f"--include={','.join((*_PACKAGES, *packages))}",
            *(f"--aptopt={option}" for option in apt),
            *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
            "--skip=cleanup/apt/lists",
            *hooks,
            self.release,
            str(self.place / target),
            *lines,
        )


class Recipe(Protocol):
    """How one kind of thing is made; ``what`` names it to people, ``suffix`` ends its name."""

    @property
    def what(self) -> str: ...

    @property
    def suffix(self) -> str: ...

    def make(self, making: Making) -> Path:
        """Make a file or a folder in the scratch folder. Raises TestbedError, CancelledRun."""


@dataclass(frozen=True)
class TreeRecipe:
    """A root tree as one tar file."""

    what: str = "root tree"
    suffix: str = ".tar"

    def make(self, making: Making) -> Path:
        """See `Recipe`; takes 20 to 40 s."""
        making.mmdebstrap("tree.tar")
        return making.scratch / "tree.tar"

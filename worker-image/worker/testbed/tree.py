# SPDX-License-Identifier: AGPL-3.0-or-later
"""Root trees: one tar file per release and architecture, made by mmdebstrap, kept for a day."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from testyard.errors import CancelledRun, TestbedError
from worker import aptsources, process
from worker.testbed.account import Account
from worker.testbed.base import ENTER, PYTHON

log = logging.getLogger(__name__)

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
#: A user namespace as a testbed's; its first process is mmdebstrap, with whose death all others die,
#: and which is killed when the worker dies.
_NAMESPACES = (
    "unshare",
    "--user",
    "--map-auto",
    "--map-root-user",
    "--mount",
    "--pid",
    "--ipc",
    "--uts",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
#: Where enter.py's `prepare` puts a folder that the account could not reach by its own path.
_STAGED = Path("/mnt/work")
#: Seconds between two looks at a lock that another builder holds.
_LOOK = 0.2
#: Seconds that the processes of a killed build may take to be gone. Seen: 0.05.
_DYING = 10.0


@dataclass(frozen=True)
class TreeCache:
    """The root trees of one machine. ``max_age`` is in seconds."""

    folder: Path
    account: Account
    max_age: float

    def path(self, release: str, architecture: str) -> Path:
        """Where a tree is kept, whether it is there or not."""
        return self.folder / f"{release}-{architecture}.tar"

    def fresh(self, release: str, architecture: str) -> bool:
        """True if `get` would answer at once."""
        path = self.path(release, architecture)
        return path.exists() and time.time() - path.stat().st_mtime < self.max_age

    def get(self, release: str, architecture: str, cancelled: Callable[[], bool]) -> Path:
        """A tree not older than ``max_age``; makes it if need be, which takes 20 to 40 s.

        If a new one cannot be made, an older one serves. Raises TestbedError if there is none;
        CancelledRun soon after ``cancelled`` says true, with nothing left behind.
        """
        path = self.path(release, architecture)
        with self._locked(path, cancelled):
            self._clear(_scratch(path))
            if self.fresh(release, architecture):
                return path
            try:
                self._make(path, release, architecture, cancelled)
            except TestbedError as error:
                if not path.exists():
                    raise
                log.warning("root tree %s is old and could not be made anew: %s", path.name, error)
        return path

    @contextmanager
    def _locked(self, path: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_suffix(".lock").open("w") as lock:
            while not _try_lock(lock):
                if cancelled():
                    raise CancelledRun("the worker was told to stop")
                time.sleep(_LOOK)
            yield

    def _make(self, path: Path, release: str, architecture: str, cancelled: Callable[[], bool]) -> None:
        scratch = _scratch(path)
        try:
            listed = aptsources.sources_file(aptsources.machine_sources(release))
            self._build(scratch, listed, release, architecture, cancelled)
            made = scratch / "tree.tar"
            if self.account.switch:
                os.chown(made, 0, 0, follow_symlinks=False)
            made.chmod(0o644)
            os.replace(made, path)
        except (TestbedError, OSError) as error:
            raise self._explained(error, release, architecture) from error
        finally:
            self._clear(scratch)

    def _clear(self, scratch: Path) -> None:
        """Remove a build's folder; processes of a builder killed just now may still write to it."""
        deadline = time.monotonic() + _DYING
        while True:
            try:
                return self.account.remove_tree(scratch)
            except TestbedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK)

    def _build(
        self, scratch: Path, listed: str, release: str, architecture: str, cancelled: Callable[[], bool]
    ) -> None:
        scratch.mkdir(mode=0o711)  # apt works in it as one of the account's sub-ids
        (scratch / "mirror.list").write_text(listed)
        (scratch / "mirror.list").chmod(0o644)
        self.account.give(scratch)
        place = _STAGED if self.account.switch else scratch
        command = self.account.argv(
            *_NAMESPACES, "env", f"TMPDIR={place}", f"HOME={place}", *_command(release, architecture, place)
        )
        if self.account.switch:
            enter = [*PYTHON, str(ENTER), "prepare", str(scratch), "", "", "--"]
            command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", *enter, *command]
        process.run(command, timeout=1800, cancelled=cancelled)

    def _explained(self, error: TestbedError | OSError, release: str, architecture: str) -> TestbedError:
        known = error if isinstance(error, TestbedError) else TestbedError(str(error), details=str(error))
        full = os.strerror(errno.ENOSPC) in known.details
        mend = f"Make room below {self.folder} (worker.tree_dir): a build takes up to 1 GB for a minute."
        return type(known)(
            f"no root tree for {release} {architecture}: {'the disk is full' if full else known.brief}",
            details=known.details,
            resolution=mend if full else known.resolution or "Is the package archive reachable?",
        )


def _scratch(tree: Path) -> Path:
    """Where a tree is made: one name for all builds of it, so what a killed worker left is found."""
    return tree.with_suffix(".making")


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _command(release: str, architecture: str, place: Path) -> list[str]:
    apt = (*_APT_OPTIONS, *aptsources.kept_options())
    return [
        "mmdebstrap",
        "--mode=root",  # of the namespaces
        "--variant=apt",
        f"--architectures={architecture}",
        "--include=dpkg-dev,ca-certificates,passwd,adduser",
        *(f"--aptopt={option}" for option in apt),
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        "--skip=cleanup/apt/lists",
        release,
        str(place / "tree.tar"),
        str(place / "mirror.list"),
    ]

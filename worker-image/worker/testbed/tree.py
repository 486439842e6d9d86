# SPDX-License-Identifier: AGPL-3.0-or-later
"""Root trees and images: one for each release and architecture, made by a recipe, kept for a day."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import TestbedError
from worker.testbed.account import Account
from worker.testbed.lock import locked
from worker.testbed.recipe import Making, Recipe, TreeRecipe

log = logging.getLogger(__name__)

#: Seconds between two tries to clear a build's folder.
_LOOK = 0.2
#: Seconds that the processes of a killed build may take to be gone. Seen: 0.05.
_DYING = 10.0


_TREE = TreeRecipe()


@dataclass(frozen=True)
class TreeCache:
    """The root trees of one machine, or what else the recipe makes. ``max_age`` is in seconds."""

    folder: Path
    account: Account
    max_age: float
    recipe: Recipe = _TREE

    def path(self, release: str, architecture: str) -> Path:
        """Where a tree is kept, whether it is there or not."""
        return self.folder / f"{release}-{architecture}{self.recipe.suffix}"

    def fresh(self, release: str, architecture: str) -> bool:
        """True if `get` would answer at once."""
        path = self.path(release, architecture)
        return path.exists() and time.time() - path.stat().st_mtime < self.max_age

    def get(self, release: str, architecture: str, cancelled: Callable[[], bool]) -> Path:
        """One not older than ``max_age``; makes it if need be, which takes its time.

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
                log.warning("%s is old and could not be made anew: %s", path.name, error)
        return path

    @contextmanager
    def _locked(self, path: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(path.with_suffix(".lock"), cancelled):
            yield

    def _make(self, path: Path, release: str, architecture: str, cancelled: Callable[[], bool]) -> None:
        scratch = _scratch(path)
        try:
            scratch.mkdir(mode=0o711)  # apt works in it as one of the account's sub-ids
            self.account.give(scratch)
            made = self.recipe.make(Making(self.account, scratch, release, architecture, cancelled))
            if made.is_dir():
                self._put_folder(made, path)
            else:
                self._close(made)
                os.replace(made, path)
        except (TestbedError, OSError) as error:
            raise self._explained(error, release, architecture) from error
        finally:
            self._clear(scratch)

    def _close(self, *files: Path) -> None:
        """What was made is the worker's from now on, and readable by testbeds."""
        for file in files:
            if self.account.switch:
                os.chown(file, 0, 0, follow_symlinks=False)
            file.chmod(0o755 if file.is_dir() else 0o644)

    def _put_folder(self, made: Path, path: Path) -> None:
        """Put a folder at ``path``, which becomes a link to it; runs that use the old one go on with it."""
        self._close(made, *made.iterdir())
        kept = path.with_name(f"{path.name}.{time.time_ns()}")
        made.rename(kept)
        link = path.with_suffix(".link")
        link.unlink(missing_ok=True)
        link.symlink_to(kept.name)
        os.replace(link, path)
        # one that begins just now may have read the link before: the last but one goes with the next
        for old in sorted(self.folder.glob(f"{path.name}.*"))[:-2]:
            shutil.rmtree(old)

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

    def _explained(self, error: TestbedError | OSError, release: str, architecture: str) -> TestbedError:
        known = error if isinstance(error, TestbedError) else TestbedError(str(error), details=str(error))
        full = os.strerror(errno.ENOSPC) in known.details
        why = "the disk is full" if full else known.brief
        mend = f"Make room below {self.folder} (worker.tree_dir): a build takes up to 2 GB for a minute."
        return type(known)(
            f"no {self.recipe.what} for {release} {architecture}: {why}",
            details=known.details,
            resolution=mend if full else known.resolution or "Is the package archive reachable?",
        )


def _scratch(tree: Path) -> Path:
    """Where a tree is made: one name for all builds of it, so what a killed worker left is found."""
    return tree.with_suffix(".making")

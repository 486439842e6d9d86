# SPDX-License-Identifier: AGPL-3.0-or-later
"""Root trees: one tar file per release and architecture, made by mmdebstrap, kept for a day."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import TestbedError
from worker import aptsources, process
from worker.testbed.account import Account

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

    def get(self, release: str, architecture: str) -> Path:
        """A tree not older than ``max_age``; makes it if need be, which takes 20 to 40 s.

        If a new one cannot be made, an older one serves. Raises TestbedError if there is none.
        """
        path = self.path(release, architecture)
        with self._locked(path):
            if self.fresh(release, architecture):
                return path
            try:
                self._make(path, release, architecture)
            except TestbedError as error:
                if not path.exists():
                    raise
                log.warning("root tree %s is old and could not be made anew: %s", path.name, error)
        return path

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self, path: Path, release: str, architecture: str) -> None:
        sources = aptsources.sources_file(aptsources.machine_sources(release))
        scratch = Path(tempfile.mkdtemp(prefix="testyard-tree-"))
        try:
            self.account.give(scratch)
            scratch.chmod(0o711)  # mmdebstrap works in it as one of the account's sub-ids
            listed = scratch / "mirror.sources"
            listed.write_text(sources)
            listed.chmod(0o644)
            made = scratch / "tree.tar"
            process.run(
                self.account.argv(*_command(release, architecture, made, listed)),
                timeout=1800,
                environment={"TMPDIR": str(scratch), "HOME": str(scratch)},
            )
            self._keep(made, path)
        except TestbedError as error:
            raise TestbedError(
                f"no root tree for {release} {architecture}: {error.brief}",
                details=error.details,
                resolution="Is the package archive reachable, and is there room on the disk?",
            ) from error
        finally:
            self.account.remove_tree(scratch)

    def _keep(self, made: Path, path: Path) -> None:
        part = path.with_suffix(".part")
        # reflink or rename is not possible across file systems, a copy always is
        with made.open("rb") as source, part.open("wb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        os.chmod(part, 0o644)
        os.replace(part, path)


def _command(release: str, architecture: str, made: Path, listed: Path) -> list[str]:
    apt = (*_APT_OPTIONS, *aptsources.kept_options())
    return [
        "mmdebstrap",
        "--mode=unshare",
        "--variant=apt",
        f"--architectures={architecture}",
        "--include=dpkg-dev,ca-certificates,passwd,adduser",
        *(f"--aptopt={option}" for option in apt),
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        "--skip=cleanup/apt/lists",
        release,
        str(made),
        str(listed),
    ]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The release team's lists of packages that need more, or must not run.

A folder, often a git checkout, with the files of Ubuntu's autopkgtest-package-configs. A line is
``package[/architecture[/release]]``; a part that is missing is ``all``; ``*``, ``?`` and ``[…]`` are
wildcards; lines that begin with ``#`` are comments. Files are read anew for each request: a change
holds from the next one on.
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from testyard.errors import SettingsError
from testyard.queue import QueueName


class PackageList(StrEnum):
    """The files' names. A file that is not there is empty."""

    BIG = "big_packages"
    LONG = "long_tests"
    NEVER = "never_run"
    VM = "vm_packages"


class PackageLists:
    """``folder`` None: all lists are empty."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def of(self, package: str, queue: QueueName) -> frozenset[PackageList]:
        """The lists that a package is on, for this release and architecture.

        Raises SettingsError if the folder or a file cannot be read: to run what is on ``never_run``
        may take a testbed host down.
        """
        if self._folder is None:
            return frozenset()
        if not self._folder.is_dir():
            raise SettingsError(f"worker.package_lists: no folder {self._folder}")
        spellings = _spellings(package, queue)
        return frozenset(name for name in PackageList if _matches(self._lines(name), spellings))

    def _lines(self, name: PackageList) -> list[str]:
        assert self._folder is not None
        try:
            return (self._folder / name).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"worker.package_lists: {self._folder / name}: {error}") from error


def _spellings(package: str, queue: QueueName) -> tuple[str, ...]:
    return tuple(
        f"{package}/{architecture}/{release}"
        for architecture in (queue.architecture, "all")
        for release in (queue.release, "all")
    )


def _matches(lines: list[str], spellings: tuple[str, ...]) -> bool:
    # a blank line is none here; in the older worker it became /all/all
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    completed = ["/".join([*pattern.split("/"), "all", "all"][:3]) for pattern in patterns]
    return any(fnmatchcase(spelling, pattern) for pattern in completed for spelling in spellings)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a run is kept: container and object names, and who may read them.

``<container>/<release>/<arch>/<prefix>/<source>/<run id>/<file>``; the prefix is the first letter
of the source, or its first four if it begins with ``lib`` (as in Debian's pool).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from testyard import fields
from testyard.errors import RequestError, ResultError
from testyard.ppa import Ppa
from testyard.queue import QueueName
from testyard.run import RunId

RESULT = "result.tar"
LOG = "log.gz"
ARTIFACTS = "artifacts.tar.gz"
READABLE_BY = "readable-by"

#: X-Container-Read of a public container: anyone may read objects and list them.
PUBLIC_READ = ".r:*,.rlistings"

_RESULTS = re.compile(r"(?:private-)?autopkgtest-[a-z0-9][a-z0-9._+-]*")

#: Workers' claims on requests; never public.
CLAIMS = "testyard-claims"


#: What stands for the archive of runs of repositories that name no archive: migration software reads the
#: release's own container, and whoever may push to a repository has no say there.
OF_REPOSITORIES = "upstream"


def container_name(
    release: str, ppas: Sequence[str] = (), *, private: bool = False, from_git: bool = False
) -> str:
    """The container of a run: the last archive names it, ``private-`` begins a private one's name.

    Raises RequestError naming the part that no container can be named by.
    """
    fields.ppas(list(ppas))
    QueueName("ubuntu", release, "any")
    name = f"autopkgtest-{release}"
    if ppas:
        last = Ppa.parse(ppas[-1])
        name += f"-{last.owner}-{last.name}"
    elif from_git:
        name += f"-{OF_REPOSITORIES}"
    return f"private-{name}" if private else name


def reader_container(container: str, reader: str) -> str:
    """The container of one reader's private runs, where the shared one is another reader's."""
    return f"{container}.for-{hashlib.sha256(reader.encode()).hexdigest()[:12]}"


def read_acl(reader: str) -> str:
    """X-Container-Read of a private container; empty, for nobody, without a reader."""
    return f"*:{reader}" if reader else ""


def archive_of(container: str, release: str) -> str:
    """``owner-name`` of the archive that a container's runs used beside the release's own; else empty.

    Of runs of repositories without an archive it is `OF_REPOSITORIES`.
    """
    own, dash, archive = container.removeprefix("private-").partition(f"{container_name(release)}-")
    return archive if dash and not own else ""


def is_results_container(name: str) -> bool:
    """True if it can be a name that `container_name` or `reader_container` gave."""
    return bool(_RESULTS.fullmatch(name)) and ".." not in name


def is_private(container: str) -> bool:
    """True if only named people may read the container."""
    return container.startswith("private-")


def pool_prefix(source: str) -> str:
    """``g`` for gzip, ``libp`` for libpng."""
    return source[:4] if source.startswith("lib") else source[0]


@dataclass(frozen=True)
class RunPath:
    """A run's place within its container."""

    release: str
    architecture: str
    source: str
    run_id: RunId

    def __post_init__(self) -> None:
        try:
            QueueName("ubuntu", self.release, self.architecture)
            fields.package_name(self.source)
        except RequestError as error:
            raise ResultError(f"no run's path: {error.brief}") from error

    def __str__(self) -> str:
        return f"{self.parent}{self.run_id}"

    @property
    def parent(self) -> str:
        """The common prefix of all runs of this release, architecture and source, ``/`` at the end."""
        return f"{self.release}/{self.architecture}/{pool_prefix(self.source)}/{self.source}/"

    def file(self, name: str) -> str:
        """An object's name within the container."""
        return f"{self}/{name}"

    @classmethod
    def parse(cls, path: str) -> RunPath:
        """Read ``release/arch/prefix/source/run_id``; raises ResultError if it is not that."""
        parts = path.rstrip("/").split("/")
        if len(parts) != 5 or not parts[3] or parts[2] != pool_prefix(parts[3]):
            raise ResultError(f"{path!r} is not release/arch/prefix/source/run_id")
        return cls(parts[0], parts[1], parts[3], RunId(parts[4]))

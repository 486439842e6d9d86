# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where things are: this site's pages and the store's files."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from testyard.index import RunRow
from testyard.settings import Settings
from testyard.store import ARTIFACTS, LOG, RESULT


def _quoted(path: str) -> str:
    # `@` ends run ids and `+` is in package names (g++): both may stand in a path as they are
    return quote(path, safe="/@+:~")


@dataclass(frozen=True)
class RunUrls:
    """A run's addresses: its page and its files in the store."""

    page: str
    log: str
    artifacts: str
    result: str


def package(source: str) -> str:
    """The package page's path."""
    return f"/packages/{_quoted(source)}"


def history(source: str, release: str, architecture: str) -> str:
    """The path of the page of all runs of a package on one release and architecture."""
    return f"{package(source)}/{_quoted(release)}/{_quoted(architecture)}"


def run(row: RunRow) -> str:
    """The run page's path."""
    return f"{history(row.source, row.release, row.architecture)}/{_quoted(row.run_id)}"


def request(request_id: str) -> str:
    """The request page's path."""
    return f"/requests/{_quoted(request_id)}"


@dataclass(frozen=True)
class Addresses:
    """Makes addresses for readers elsewhere: absolute ones where the settings name this site."""

    site: str
    store: str

    @classmethod
    def of(cls, settings: Settings) -> Addresses:
        """From ``site.url`` and ``store.public_url``."""
        return cls(settings.site.url.rstrip("/"), settings.store.public_url.rstrip("/"))

    def page(self, path: str) -> str:
        """A page of this site."""
        return f"{self.site}{path}"

    def files(self, row: RunRow) -> RunUrls:
        """The run's page and files."""
        folder = f"{self.store}/{_quoted(row.container)}/{_quoted(str(row.path))}"
        return RunUrls(self.page(run(row)), f"{folder}/{LOG}", f"{folder}/{ARTIFACTS}", f"{folder}/{RESULT}")

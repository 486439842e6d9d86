# SPDX-License-Identifier: AGPL-3.0-or-later
"""A source package: the newest outcome everywhere, and all runs of one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from testyard.index import RequestState, read
from testyard.store import pool_prefix
from web import addresses
from web.pages.page import BRIEFLY, NotFoundError, Page, Query
from web.views import RequestView, RunView, request_views, run_views

_UNDER_WAY = (RequestState.RUNNING, RequestState.QUEUED)

#: Of runs under way of one package, and of its recent runs, no more are shown.
RECENT = 50
HISTORY = 1000


@dataclass(frozen=True, kw_only=True)
class PackagePage(Page):
    """The context of ``/packages/{source}``."""

    template: ClassVar[str] = "package.html"
    source: str
    matrix: tuple[RunView, ...]
    runs: tuple[RunView, ...]
    requests: tuple[RequestView, ...]

    @property
    def title(self) -> str:
        return self.source

    @property
    def architectures(self) -> tuple[str, ...]:
        """The matrix' columns."""
        return tuple(sorted({view.row.architecture for view in self.matrix}))

    @property
    def rows(self) -> tuple[tuple[str, tuple[RunView | None, ...]], ...]:
        """The matrix' rows: a release, and a run or None for each architecture."""
        known = {(view.row.release, view.row.architecture): view for view in self.matrix}
        releases = sorted({view.row.release for view in self.matrix})
        return tuple(
            (release, tuple(known.get((release, name)) for name in self.architectures))
            for release in releases
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "matrix": [view.to_json() for view in self.matrix],
            "runs": [view.to_json() for view in self.runs],
            "requests": [view.to_json() for view in self.requests],
        }


def package(query: Query) -> PackagePage:
    """A package's page; its status is 404 as long as there is no result.

    Of an address with a release behind the package, the way to the package's page.
    """
    source, elsewhere = _with_release(query) or query.source(), None
    runs = run_views(read.package_runs(query.index, source, limit=RECENT), query.places)
    if "prefix" in query.names and source == query.names["prefix"]:
        if not runs:
            raise NotFoundError("There is no such page.")
        elsewhere = addresses.package(source)
    return PackagePage(
        elsewhere=elsewhere,
        status=200 if runs else 404,
        cache=BRIEFLY,
        source=source,
        matrix=run_views(read.package_matrix(query.index, source), query.places),
        runs=runs,
        requests=_requests(query, source),
    )


def _with_release(query: Query) -> str | None:
    """The package in ``NAME/RELEASE``, which looks like a pool prefix and a name; None if it is that."""
    name = query.names.get("prefix")
    return None if name is None or name == pool_prefix(query.names["source"]) else name


@dataclass(frozen=True, kw_only=True)
class HistoryPage(Page):
    """The context of ``/packages/{source}/{release}/{architecture}``."""

    template: ClassVar[str] = "history.html"
    source: str
    release: str
    architecture: str
    runs: tuple[RunView, ...]
    requests: tuple[RequestView, ...]

    @property
    def title(self) -> str:
        return f"{self.source} on {self.release} {self.architecture}"

    @property
    def package_page(self) -> str:
        """The path of the package's page."""
        return addresses.package(self.source)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "release": self.release,
            "architecture": self.architecture,
            "runs": [view.to_json() for view in self.runs],
            "requests": [view.to_json() for view in self.requests],
        }


def history(query: Query) -> HistoryPage:
    """All runs on one release and architecture; the status is 404 as long as there is none."""
    source, target = query.source(), query.target()
    rows = read.package_runs(
        query.index, source, release=target.release, architecture=target.architecture, limit=HISTORY
    )
    runs = run_views(rows, query.places)
    place = (target.release, target.architecture)
    requests = tuple(
        view
        for view in _requests(query, source)
        if view.queue and (view.queue.release, view.queue.architecture) == place
    )
    return HistoryPage(
        status=200 if runs else 404,
        cache=BRIEFLY,
        source=source,
        release=target.release,
        architecture=target.architecture,
        runs=runs,
        requests=requests,
    )


def _requests(query: Query, source: str) -> tuple[RequestView, ...]:
    rows = read.requests_in(query.index, _UNDER_WAY, package=source)
    views = request_views(rows, query.places)
    return tuple(view for view in views if not view.private)

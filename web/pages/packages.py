# SPDX-License-Identifier: AGPL-3.0-or-later
"""All packages, the last tested first, and a search among their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from testyard.index import PackageRow, read
from testyard.look.words import iso
from web.pages.page import BRIEFLY, NotFoundError, Page, Query

#: Packages on one page; a name that is searched is no longer than a package's.
PAGE = 100
LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class PackagesPage(Page):
    """The context of ``/packages``; ``number`` counts from 1."""

    template: ClassVar[str] = "packages.html"
    named: str
    number: int
    packages: tuple[PackageRow, ...]
    more: bool

    @property
    def title(self) -> str:
        return f"Packages: {self.named}" if self.named else "Packages"

    @property
    def before(self) -> str | None:
        """The address of the page before this one."""
        return self._address(self.number - 1) if self.number > 1 else None

    @property
    def after(self) -> str | None:
        """The address of the next page."""
        return self._address(self.number + 1) if self.more else None

    def _address(self, number: int) -> str:
        keys = {"q": self.named} if self.named else {}
        return f"/packages?{urlencode({**keys, 'page': number})}"

    def to_json(self) -> dict[str, Any]:
        return {
            "packages": [
                {"source": row.source, "runs": row.runs, "completed": iso(row.completed)}
                for row in self.packages
            ],
            "page": self.number,
            "more": self.more,
        }


def packages(query: Query) -> PackagesPage:
    """One page of the list."""
    named = query.asked.get("q", "").strip().lower()[:LONGEST].replace("\0", "")
    number = _number(query.asked.get("page", "1"))
    found = read.packages(query.index, named=named, offset=(number - 1) * PAGE, limit=PAGE + 1)
    return PackagesPage(
        cache=BRIEFLY, named=named, number=number, packages=found[:PAGE], more=len(found) > PAGE
    )


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0:
        return int(text)
    raise NotFoundError("A page's number counts from 1.")

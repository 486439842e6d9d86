# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is shown when a page cannot be: for browsers in the site's look, for programs RFC 9457."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from web.pages.page import Page


@dataclass(frozen=True, kw_only=True)
class ProblemPage(Page):
    """The context of an error's page."""

    template: ClassVar[str] = "problem.html"
    detail: str

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase

    def to_json(self) -> dict[str, Any]:
        return problem_json(self.status, self.detail)


def problem_json(status: int, detail: str) -> dict[str, Any]:
    """A problem's object; its kind is told by the status alone."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}

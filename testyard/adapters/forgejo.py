# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forgejo and Gitea: commit statuses. Forms: their API, version 1, "CreateStatusOption"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from testyard.adapters.forge import SHOW_SECONDS, Calls, file_of
from testyard.adapters.github import may_push, pull_request_of, repository, show_status
from testyard.intake.report import Report


@dataclass(frozen=True)
class ForgejoStatuses:
    """Commit statuses with a token that may write to the repository."""

    calls: Calls
    token: str = field(repr=False)

    def show(self, project: str, report: Report, memo: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        show_status(self.calls.within(SHOW_SECONDS), self._headers(), project, report)
        return {}

    def pull_request(self, project: str, number: int) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        return pull_request_of(self.calls, self._headers(), project, number)

    def may_push(self, project: str, login: str) -> bool:
        """See `testyard.adapters.forge.Forge`."""
        return bool(self.token) and may_push(self.calls, self._headers(), project, login)

    def file(self, project: str, path: str, ref: str) -> bytes | None:
        """See `testyard.adapters.forge.Forge`."""
        return file_of(self.calls, f"{repository(project)}/contents/{quote(path)}", self._headers(), ref)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"} if self.token else {}

# SPDX-License-Identifier: AGPL-3.0-or-later
"""GitLab, also self-hosted: commit statuses. Forms and limits: its REST API, version 4, "Commits"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from testyard.adapters.forge import SHOW_SECONDS, Calls, file_of
from testyard.adapters.github import commit_of
from testyard.errors import ForgeError
from testyard.intake.report import Report
from testyard.intake.statuses import Shown

_STATE = {
    Shown.QUEUED: "pending",
    Shown.RUNNING: "running",
    Shown.PASS: "success",
    Shown.NEUTRAL: "success",
    Shown.CANCELLED: "canceled",
}
_LONGEST = 255
#: The least access level of who may push to a project.
_DEVELOPER = 30
#: GitLab's words for a step that a status cannot go, and for a commit that is in no branch.
_CANNOT = "Cannot transition"
_NO_REFERENCE = "References for commit"


@dataclass(frozen=True)
class GitLabStatuses:
    """Commit statuses with a token of scope ``api``; the project's path may have any number of groups."""

    calls: Calls
    token: str = field(repr=False)

    def show(self, project: str, report: Report, memo: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        state = _STATE.get(report.shown, "failed")
        body = {"state": state, "name": report.context[:_LONGEST], "description": report.title[:_LONGEST]}
        if report.url:
            body["target_url"] = report.url[:_LONGEST]
        path = f"{_project(project)}/statuses/{commit_of(report)}"
        try:
            self._tell(self.calls.within(SHOW_SECONDS), path, body, report.ref)
        except ForgeError as error:
            # to what it is already, or back to where it came from; asking again would change nothing
            if not (error.lasting and _CANNOT in error.brief):
                raise
        return {}

    def pull_request(self, project: str, number: int) -> dict[str, Any]:
        """See `testyard.adapters.forge.Forge`."""
        found = self.calls.call("GET", f"{_project(project)}/merge_requests/{number}", self._headers())
        if not isinstance(found, dict):
            raise ForgeError("the answer is no merge request")
        return found

    def may_push(self, project: str, login: str) -> bool:
        """See `testyard.adapters.forge.Forge`."""
        if not self.token:
            return False
        try:
            found = self.calls.call("GET", f"{_project(project)}/members/all", self._headers(), query=login)
        except ForgeError as error:
            if error.refused or error.lasting:
                return False
            raise
        return any(_is_developer(each, login) for each in (found if isinstance(found, list) else ()))

    def file(self, project: str, path: str, ref: str) -> bytes | None:
        """See `testyard.adapters.forge.Forge`."""
        return file_of(
            self.calls, f"{_project(project)}/repository/files/{quote(path, safe='')}", self._headers(), ref
        )

    def _tell(self, calls: Calls, path: str, body: Mapping[str, Any], ref: str) -> None:
        try:
            calls.call("POST", path, self._headers(), body)
        except ForgeError as error:
            # a merge request from another project: its commit is in no branch here, so it must be told in
            # which pipeline to show it. Told always, a branch of the project would get a second one
            if not (ref and error.refused and _NO_REFERENCE in error.brief):
                raise
            calls.call("POST", path, self._headers(), {**body, "ref": ref[:_LONGEST]})

    def _headers(self) -> dict[str, str]:
        return {"PRIVATE-TOKEN": self.token} if self.token else {}


def _is_developer(member: Any, login: str) -> bool:
    return (
        isinstance(member, dict)
        and member.get("username") == login
        and member.get("state") == "active"
        and type(level := member.get("access_level")) is int
        and level >= _DEVELOPER
    )


def _project(path: str) -> str:
    if "/" not in path or ".." in path:
        raise ForgeError(f"{path[:100]!r} is not group/project", lasting=True)
    return f"/projects/{quote(path, safe='')}"

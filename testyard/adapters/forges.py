# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which client is for which project; and none asks a forge that is away, or wants to be left alone."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from testyard.adapters.forge import Calls, Forge
from testyard.adapters.github import CommitStatuses, GitHubApp
from testyard.adapters.gitlab import GitLabStatuses
from testyard.errors import ForgeError
from testyard.intake.pauses import Pauses
from testyard.intake.projects import Project
from testyard.intake.report import Report

_T = TypeVar("_T")


def forge_for(project: Project) -> Forge:
    """A new client. Without a token it can only read what is public."""
    calls = Calls.to(project.api)
    if project.forge == "gitlab":
        return GitLabStatuses(calls, project.token)
    if project.forge in ("forgejo", "gitea"):
        return CommitStatuses.forgejo(calls, project.token)
    if project.app_id and project.private_key:
        return GitHubApp(calls, project.app_id, project.private_key)
    return CommitStatuses.github(calls, project.token)


def may_tell(project: Project) -> bool:
    """True if we have something to log in with."""
    return bool(project.token or (project.forge == "github" and project.app_id and project.private_key))


class Forges:
    """Keeps a client for each project, and with it the tokens it was given. For any thread."""

    def __init__(self, pauses: Pauses | None = None) -> None:
        self._pauses = pauses
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, ...], Forge] = {}

    def of(self, project: Project) -> Forge:
        """The project's client. With ``pauses``, it raises ForgeError unasked while its forge is paused."""
        key = (project.forge, project.api, project.token, project.app_id, project.private_key)
        with self._lock:
            found = self._clients.get(key)
            if found is None:
                found = self._clients[key] = forge_for(project)
        return found if self._pauses is None else _Patient(found, self._pauses, project)


@dataclass(frozen=True)
class _Patient:
    """A client that asks only if the forge, and our account there, are not paused; and pauses them."""

    forge: Forge
    pauses: Pauses
    place: Project

    def show(self, project: str, report: Report, memo: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """See `Forge`."""
        return self._ask(project, lambda: self.forge.show(project, report, memo, first=first))

    def pull_request(self, project: str, number: int) -> dict[str, Any]:
        """See `Forge`."""
        return self._ask(project, lambda: self.forge.pull_request(project, number))

    def may_push(self, project: str, login: str) -> bool:
        """See `Forge`."""
        return self._ask(project, lambda: self.forge.may_push(project, login))

    def file(self, project: str, path: str, ref: str) -> bytes | None:
        """See `Forge`."""
        return self._ask(project, lambda: self.forge.file(project, path, ref))

    def _ask(self, project: str, call: Callable[[], _T]) -> _T:
        host = urlsplit(self.place.api).netloc
        account = f"{host}/{self._account(project)}"
        wait, trial = self.pauses.enter((host, account))
        if wait:
            raise ForgeError(f"{host}: not asked for another {wait:.0f} s", retry_after=wait, unasked=True)
        try:
            found = call()
        except ForgeError as error:
            if error.refused or error.lasting:
                self._worked(trial)
            else:
                name = host if error.away else account
                self.pauses.failed(name, error.retry_after, trial=name in trial)
            raise
        self._worked(trial)
        return found

    def _worked(self, trial: frozenset[str]) -> None:
        if trial:
            self.pauses.worked(tuple(trial))

    def _account(self, project: str) -> str:
        """A forge counts by token; GitHub by an app's installation, which is an owner's."""
        place = self.place
        said = place.token
        if place.app_id and place.private_key:
            said = f"{place.app_id}/{project.partition('/')[0]}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which client is for which project."""

from __future__ import annotations

import threading

from testyard.adapters.forge import Calls, Forge
from testyard.adapters.forgejo import ForgejoStatuses
from testyard.adapters.github import GitHubApp, GitHubStatuses
from testyard.adapters.gitlab import GitLabStatuses
from testyard.intake.projects import Project


def forge_for(project: Project) -> Forge:
    """A new client. Without a token it can only read what is public."""
    calls = Calls.to(project.api)
    if project.forge == "gitlab":
        return GitLabStatuses(calls, project.token)
    if project.forge in ("forgejo", "gitea"):
        return ForgejoStatuses(calls, project.token)
    if project.app_id and project.private_key:
        return GitHubApp(calls, project.app_id, project.private_key)
    return GitHubStatuses(calls, project.token)


def may_tell(project: Project) -> bool:
    """True if we have something to log in with."""
    return bool(project.token or (project.forge == "github" and project.app_id and project.private_key))


class Forges:
    """Keeps a client for each project, and with it the tokens it was given. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, ...], Forge] = {}

    def of(self, project: Project) -> Forge:
        """The project's client."""
        key = (project.forge, project.api, project.token, project.app_id)
        with self._lock:
            found = self._clients.get(key)
            if found is None:
                found = self._clients[key] = forge_for(project)
            return found

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A hook's delivery made here, from what the forge says of a pull request now.

For one whose own delivery was lost, or refused for a reason that is gone. It goes the way of all others, but
for the signature: who can write to `testyard-hooks` needs none.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from testyard.errors import RequestError
from testyard.intake.delivery import Delivery
from testyard.intake.projects import Project, Projects

_PLACES = {
    "github": re.compile(r"/([^/]+/[^/]+)/pull/([0-9]{1,9})(?:/.*)?"),
    "gitlab": re.compile(r"/(.+)/-/merge_requests/([0-9]{1,9})(?:/.*)?"),
    "forgejo": re.compile(r"/([^/]+/[^/]+)/pulls/([0-9]{1,9})(?:/.*)?"),
    "gitea": re.compile(r"/([^/]+/[^/]+)/pulls/([0-9]{1,9})(?:/.*)?"),
}


@dataclass(frozen=True)
class PullRequest:
    """One of a project; ``path`` is ``owner/project`` (the project's own may be a pattern)."""

    project: Project
    path: str
    number: int


def find_pull_request(projects: Projects, address: str) -> PullRequest:
    """The pull or merge request at a page's address. Raises RequestError."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise RequestError("address", f"{address[:200]!r} is no address: {error}") from error
    read = False
    for forge, place in _PLACES.items():
        found = place.fullmatch(parts.path.rstrip("/"))
        if found is None:
            continue
        read = True
        project = projects.of(forge, found[1])
        if project is not None and urlsplit(project.url)[:2] == (parts.scheme, parts.netloc):
            return PullRequest(project, found[1], int(found[2]))
    if read and not projects.by_name:
        raise RequestError("intake.projects", "not set, or names no project: docs/hooks.md, step 1")
    if read:
        raise RequestError("address", f"intake.projects names no project for {address[:200]!r}")
    raise RequestError(
        "address",
        f"{address[:200]!r} is not the address of a pull request: …/owner/project/pull/12 (GitHub), "
        "…/group/project/-/merge_requests/12 (GitLab), …/owner/project/pulls/12 (Forgejo, Gitea)",
    )


def delivery_of(asked: PullRequest, told: Mapping[str, Any], *, query: str, operator: str) -> Delivery:
    """As the forge would send it if somebody pushed now; each call makes another one. Raises RequestError.

    ``told`` is what the forge's API says of the pull request.
    """
    project, mark = asked.project, uuid.uuid4().hex
    if project.forge == "gitlab":
        event, payload = "Merge Request Hook", _merge_request(asked, told)
    else:
        event, payload = "pull_request", _pull_request(told)
    # a delivery is known by its body, and this one is asked for anew
    body = json.dumps({**payload, "testyard": {"operator": operator, "mark": mark}})
    return Delivery(project.forge, asked.path, event, f"{operator}/{mark}", query, "", body=body)


def head_of(asked: PullRequest, told: Mapping[str, Any]) -> str:
    """The commit that is to be tested. Raises RequestError."""
    head = told.get("head")
    commit = (
        told.get("sha") if asked.project.forge == "gitlab" else isinstance(head, dict) and head.get("sha")
    )
    if not isinstance(commit, str):
        raise RequestError("address", "the forge does not say which commit the pull request is at")
    return commit


def _pull_request(told: Mapping[str, Any]) -> dict[str, Any]:
    base, user = told.get("base"), told.get("user")
    return {
        "action": "synchronize",
        "number": told.get("number"),
        "pull_request": dict(told),
        "repository": base.get("repo") if isinstance(base, dict) else None,
        "sender": user if isinstance(user, dict) else {},
    }


def _merge_request(asked: PullRequest, told: Mapping[str, Any]) -> dict[str, Any]:
    labels = told.get("labels")
    author = told.get("author")
    return {
        "object_kind": "merge_request",
        "user": author if isinstance(author, dict) else {},
        "project": {
            "path_with_namespace": asked.path,
            "git_http_url": f"{asked.project.url}/{asked.path}.git",
        },
        "object_attributes": {**told, "action": "reopen", "last_commit": {"id": head_of(asked, told)}},
        "labels": [{"title": label} for label in labels] if isinstance(labels, list) else [],
    }

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries as GitHub, GitLab, Forgejo and Gitea send them: the keys that their documentation names."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SECRET = "a secret of the project"
HEAD = "f95f852bd8fca8fcc58a9a2d6c842781e32a215e"
BASE = "9049f1265b7d61be4a8904a9a27120d2064dab3b"
PROJECT = "octo-org/hello.world"


_CLOCK = itertools.count(int(time.time()) - 86400)


def tick() -> str:
    """The time as forges write it: a second later each time, so later events are newer."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(next(_CLOCK)))


@dataclass(frozen=True)
class Hook:
    """One delivery, to be signed."""

    forge: str
    event: str
    payload: Mapping[str, Any]
    secret: str = SECRET
    id: str = ""

    @property
    def body(self) -> bytes:
        """As it is sent."""
        return json.dumps(self.payload).encode()

    @property
    def headers(self) -> dict[str, str]:
        """All that the forge sends, its signature too."""
        return {
            "Content-Type": "application/json",
            **_HEADERS[self.forge](self.event, self.id or str(uuid.uuid4()), self.body, self.secret),
        }


def signed_headers(event: str, delivery: str, body: bytes) -> dict[str, str]:
    """What GitHub sends with a body."""
    return {"Content-Type": "application/json", **_github(event, delivery, body, SECRET)}


def _github(event: str, delivery: str, body: bytes, secret: str) -> dict[str, str]:
    return {
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "292430182",
        "X-GitHub-Hook-Installation-Target-ID": "79929171",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature": "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def _gitlab(event: str, delivery: str, _body: bytes, secret: str) -> dict[str, str]:
    return {
        "User-Agent": "GitLab/17.5.0",
        "Idempotency-Key": delivery,
        "X-Gitlab-Event": event,
        "X-Gitlab-Webhook-UUID": "02affd2d-2cba-4033-917d-ec22d5dc4b38",
        "X-Gitlab-Instance": "https://gitlab.com",
        "X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "X-Gitlab-Token": secret,
    }


def _gitea(event: str, delivery: str, body: bytes, secret: str) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-Gitea-Delivery": delivery,
        "X-Gitea-Event": event,
        "X-Gitea-Signature": digest,
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
        "X-Gogs-Event": event,
        "X-Hub-Signature-256": f"sha256={digest}",
    }


def _forgejo(event: str, delivery: str, body: bytes, secret: str) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    ours = {"X-Forgejo-Delivery": delivery, "X-Forgejo-Event": event, "X-Forgejo-Signature": digest}
    return {**_gitea(event, delivery, body, secret), **ours}


_HEADERS = {"github": _github, "gitlab": _gitlab, "gitea": _gitea, "forgejo": _forgejo}


def _repository(address: str, name: str = PROJECT, **more: Any) -> dict[str, Any]:
    owner, _, short = name.partition("/")
    return {
        "id": 186853002,
        "name": short,
        "full_name": name,
        "private": False,
        "owner": {"login": owner, "id": 21031067, "type": "Organization"},
        "html_url": f"{address}/{name}",
        "clone_url": f"{address}/{name}.git",
        "default_branch": "main",
        **more,
    }


def github_pull(
    action: str,
    *,
    number: int = 2,
    head: str = HEAD,
    fork: bool = False,
    base_ref: str = "main",
    updated: str = "",
    **more: Any,
) -> Hook:
    """``pull_request`` of GitHub."""
    base = _repository("https://github.com")
    source = _repository("https://github.com", "stranger/hello.world") if fork else base
    user = "stranger" if fork else "octocat"
    api = f"https://api.github.com/repos/{PROJECT}"
    pull = {
        "url": f"{api}/pulls/{number}",
        "html_url": f"https://github.com/{PROJECT}/pull/{number}",
        "number": number,
        "state": "open",
        "title": "Update the README with new information.",
        "user": {"login": user, "id": 21031067, "type": "User"},
        "body": "This is a pretty simple change that we need to pull into main.",
        "labels": [{"id": 1, "name": "needs-tests", "color": "ff0000"}],
        "head": {"label": f"{user}:changes", "ref": "changes", "sha": head, "repo": source},
        "base": {"label": f"octo-org:{base_ref}", "ref": base_ref, "sha": BASE, "repo": base},
        "updated_at": updated or tick(),
        "author_association": "NONE" if fork else "MEMBER",
        "statuses_url": f"{api}/statuses/{head}",
        "draft": False,
        "merged": False,
    }
    if action in ("labeled", "unlabeled"):
        more.setdefault("label", {"id": 1, "name": "needs-tests"})
    payload = {
        "action": action,
        "number": number,
        "pull_request": pull,
        "repository": base,
        "sender": {"login": user, "id": 21031067, "type": "User"},
        **more,
    }
    return Hook("github", "pull_request", payload)


def github_comment(
    text: str, *, association: str = "MEMBER", user: str = "octocat", pull: bool = True
) -> Hook:
    """``issue_comment`` of GitHub."""
    issue: dict[str, Any] = {"number": 2, "title": "Update the README", "state": "open", "labels": []}
    issue["user"] = {"login": "stranger"}
    if pull:
        issue["pull_request"] = {"url": f"https://api.github.com/repos/{PROJECT}/pulls/2"}
    payload = {
        "action": "created",
        "issue": issue,
        "comment": {
            "id": 1,
            "body": text,
            "user": {"login": user},
            "author_association": association,
            "created_at": tick(),
        },
        "repository": _repository("https://github.com"),
        "sender": {"login": user},
    }
    return Hook("github", "issue_comment", payload)


def github_push(*, ref: str = "refs/heads/main") -> Hook:
    """``push`` of GitHub."""
    payload = {
        "ref": ref,
        "before": BASE,
        "after": HEAD,
        "created": False,
        "deleted": False,
        "forced": False,
        "commits": [],
        "repository": _repository("https://github.com"),
        "pusher": {"name": "octocat", "email": "octocat@example.org"},
        "sender": {"login": "octocat"},
    }
    return Hook("github", "push", payload)


def github_rerun(event: str = "check_run", action: str = "rerequested", external: str = "") -> Hook:
    """``check_run`` or ``check_suite`` of GitHub, as the button in the check sends it."""
    pulls = [{"number": 2, "head": {"ref": "changes", "sha": HEAD}, "base": {"ref": "main", "sha": BASE}}]
    check = {"id": 128620228, "head_sha": HEAD, "status": "completed", "pull_requests": pulls}
    if event == "check_run":
        check |= {
            "name": "trixie/amd64",
            "external_id": external,
            "check_suite": {"id": 1, "head_branch": "changes"},
        }
    else:
        check |= {"head_branch": "changes"}
    payload = {
        "action": action,
        event: check,
        "repository": _repository("https://github.com"),
        "sender": {"login": "octocat"},
    }
    return Hook("github", event, payload)


def gitlab_merge(
    action: str, *, head: str = HEAD, fork: bool = False, oldrev: str = BASE, **more: Any
) -> Hook:
    """``Merge Request Hook`` of GitLab."""
    project = _gitlab_project()
    source = {**project, "path_with_namespace": "stranger/hello.world"} if fork else project
    attributes: dict[str, Any] = {
        "id": 99,
        "iid": 2,
        "target_branch": "main",
        "source_branch": "changes",
        "source_project_id": 15 if fork else 14,
        "target_project_id": 14,
        "title": "Update the README",
        "state": "opened",
        "source": source,
        "target": project,
        "last_commit": {"id": head, "message": "fixed readme"},
        "labels": [{"id": 206, "title": "needs-tests"}],
        "action": action,
        "url": f"https://gitlab.com/{PROJECT}/-/merge_requests/2",
        "updated_at": tick().replace("T", " ").replace("Z", " UTC"),
    }
    if oldrev and action == "update":
        attributes["oldrev"] = oldrev
    payload = {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": {"id": 1, "name": "Administrator", "username": "root"},
        "project": project,
        "object_attributes": attributes,
        "labels": [{"id": 206, "title": "needs-tests"}],
        "changes": {},
        **more,
    }
    return Hook("gitlab", "Merge Request Hook", payload)


def gitlab_note(text: str) -> Hook:
    """``Note Hook`` of GitLab."""
    merge = gitlab_merge("open").payload["object_attributes"]
    payload = {
        "object_kind": "note",
        "event_type": "note",
        "user": {"id": 1, "name": "Administrator", "username": "root"},
        "project": _gitlab_project(),
        "object_attributes": {"id": 1244, "note": text, "noteable_type": "MergeRequest", "action": "create"}
        | {"created_at": tick()},
        "merge_request": {key: value for key, value in merge.items() if key not in ("action", "url")},
    }
    return Hook("gitlab", "Note Hook", payload)


def gitlab_push() -> Hook:
    """``Push Hook`` of GitLab."""
    payload = {
        "object_kind": "push",
        "event_name": "push",
        "before": BASE,
        "after": HEAD,
        "ref": "refs/heads/main",
        "checkout_sha": HEAD,
        "user_id": 4,
        "user_username": "root",
        "project": _gitlab_project(),
        "commits": [],
        "total_commits_count": 1,
    }
    return Hook("gitlab", "Push Hook", payload)


def _gitlab_project() -> dict[str, Any]:
    return {
        "id": 14,
        "name": "hello.world",
        "path_with_namespace": PROJECT,
        "default_branch": "main",
        "visibility_level": 20,
        "web_url": f"https://gitlab.com/{PROJECT}",
        "git_http_url": f"https://gitlab.com/{PROJECT}.git",
        "git_ssh_url": f"git@gitlab.com:{PROJECT}.git",
    }


def forgejo_pull(
    action: str,
    *,
    forge: str = "forgejo",
    address: str = "https://codeberg.org",
    fork: bool = False,
    agit: bool = False,
    head: str = HEAD,
    labels: tuple[str, ...] = ("needs-tests",),
) -> Hook:
    """``pull_request`` of Forgejo and Gitea. ``agit``: of a push to refs/for/main."""
    event = {"synchronized": "pull_request_sync", "label_updated": "pull_request_label"}.get(
        action, "pull_request"
    )
    base = _repository(address)
    source = _repository(address, "stranger/hello.world") if fork else base
    payload = {
        "action": action,
        "number": 2,
        "pull_request": {
            "id": 77,
            "number": 2,
            "url": f"{address}/{PROJECT}/pulls/2",
            "html_url": f"{address}/{PROJECT}/pulls/2",
            "user": {"login": "octocat", "username": "octocat"},
            "title": "Update the README",
            "state": "open",
            "labels": [{"id": 1, "name": name} for name in labels],
            "head": {
                "label": "" if agit else "changes",
                "ref": "refs/pull/2/head" if agit else "changes",
                "sha": head,
                "repo": source,
            },
            "updated_at": tick().replace("Z", "+00:00"),
            "base": {"label": "main", "ref": "main", "sha": BASE, "repo": base},
        },
        "repository": base,
        "sender": {"login": "octocat", "username": "octocat"},
        "commit_id": "",
    }
    return Hook(forge, event, payload)


def forgejo_comment(text: str, *, forge: str = "forgejo") -> Hook:
    """``issue_comment`` of Forgejo and Gitea."""
    payload = {
        "action": "created",
        "issue": {
            "number": 2,
            "user": {"login": "stranger"},
            "labels": [],
            "pull_request": {"merged": False},
            "html_url": f"https://codeberg.org/{PROJECT}/pulls/2",
        },
        "comment": {"id": 3, "body": text, "user": {"login": "octocat"}, "created_at": tick()},
        "repository": _repository("https://codeberg.org"),
        "sender": {"login": "octocat"},
        "is_pull": True,
    }
    return Hook(forge, "issue_comment", payload)

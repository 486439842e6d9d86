# SPDX-License-Identifier: AGPL-3.0-or-later
"""A forge's delivery, read: what of each forge's words matters here, under one name.

Forms: GitHub's "Webhook events and payloads", GitLab's "Webhook events", Forgejo's and Gitea's "Webhooks".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from testyard import fields
from testyard.errors import RequestError
from testyard.intake.delivery import Delivery
from testyard.jsonobject import parse_object

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"[A-Za-z0-9._/+~][A-Za-z0-9._/+~-]*")
#: What a branch may be called that nothing but a forge's API is asked for, or a file's `branches` has.
_BRANCH = re.compile(r"[^\s~^:?*\[\\-][^\s~^:?*\[\\]*")
_LOGIN = re.compile(r"[A-Za-z0-9._\[\]-]{1,100}")
#: How GitHub calls those who may push to a project.
_MEMBERS = ("OWNER", "MEMBER", "COLLABORATOR")
_NOTHING = "0" * 40
#: Letters of a branch's name.
_LONGEST = 500


class HookKind(StrEnum):
    """What happened."""

    UPDATED = "updated"
    LABELLED = "labelled"
    CLOSED = "closed"
    PUSHED = "pushed"
    COMMENTED = "commented"
    RERUN = "rerun"


@dataclass(frozen=True)
class Hook:
    """What a forge told. Empty is what it did not tell.

    ``number`` is the pull or merge request's, 0 for a push. ``head`` is the commit to be tested, ``ref``
    what git calls it in the project itself, ``branch`` what it is to be merged into, or was pushed to.
    ``stranger``: the commit comes from somebody who need not have a right to push. ``member``: ``who`` may
    push to the project, as the forge says. ``check`` is our id of what is to run again. ``told`` is the
    forge's time of it (Unix seconds), 0 if it tells none. ``added`` are the labels that were given just
    now, None if the forge does not say which.
    """

    kind: HookKind
    forge: str
    project: str
    who: str = ""
    number: int = 0
    head: str = ""
    ref: str = ""
    branch: str = ""
    clone: str = ""
    stranger: bool = False
    member: bool = False
    owner: bool = False
    labels: frozenset[str] = frozenset()
    added: frozenset[str] | None = None
    default_branch: str = "HEAD"
    told: float = 0.0
    comment: str = ""
    check: str = ""
    statuses_url: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def thing(self) -> str:
        """What its requests are about; with ``@`` and the commit it is `Wish.subject`."""
        return f"{self.forge}/{self.project}#{self.number or self.ref}"


def read_hook(delivery: Delivery) -> Hook | None:
    """What a delivery tells; None if it does not matter. Raises RequestError naming the key."""
    try:
        payload = parse_object(delivery.body)
    except ValueError as error:
        raise RequestError("body", f"no JSON object: {error}") from error
    if delivery.forge == "gitlab":
        return _gitlab(delivery, payload)
    return _github(delivery, payload)


def of_pull_request(hook: Hook, pull: Mapping[str, Any]) -> Hook:
    """The pull request of a comment, as the forge's API tells of it. Raises RequestError naming the key."""
    payload = {**hook.payload, "pull_request": pull, "number": hook.number}
    return _github_pull(HookKind.UPDATED, hook.forge, hook.project, payload)


def head_of_pull(forge: str, pull: Mapping[str, Any]) -> str:
    """The newest commit of a pull or merge request, as the forge's API tells of it; empty if it does not."""
    found = _maybe(pull, "sha") if forge == "gitlab" else _maybe(pull, "head", "sha")
    return found if isinstance(found, str) else ""


def _github(delivery: Delivery, payload: Mapping[str, Any]) -> Hook | None:
    """GitHub, and Forgejo and Gitea, which took their forms from it."""
    action = payload.get("action")
    place = (delivery.forge, delivery.project)
    if delivery.event == "push":
        return _github_push(*place, payload)
    if delivery.event in ("check_run", "check_suite"):
        return _github_rerun(*place, delivery.event, payload)
    if delivery.event in ("issue_comment", "pull_request_comment"):
        return _github_comment(*place, payload) if action == "created" else None
    kinds = {
        "opened": HookKind.UPDATED,
        "reopened": HookKind.UPDATED,
        "synchronize": HookKind.UPDATED,
        "synchronized": HookKind.UPDATED,  # Forgejo, Gitea
        "ready_for_review": HookKind.UPDATED,
        "labeled": HookKind.LABELLED,
        "label_updated": HookKind.LABELLED,  # Forgejo, Gitea
        "closed": HookKind.CLOSED,
    }
    kind = kinds.get(str(action))
    return _github_pull(kind, *place, payload) if kind else None


def _github_pull(kind: HookKind, forge: str, project: str, payload: Mapping[str, Any]) -> Hook:
    pull = _table(payload, "pull_request")
    number = _number(pull, "pull_request", "number")
    given = _maybe(payload, "label", "name")
    return Hook(
        kind,
        forge,
        project,
        who=_login(_maybe(payload, "sender", "login")),
        number=number,
        head=_commit(pull, "pull_request", "head", "sha"),
        ref=f"refs/pull/{number}/head",
        branch=_branch(pull, "pull_request", "base", "ref"),
        clone=_clone(payload, "repository", "clone_url"),
        stranger=_is_strange(forge, project, pull),
        member=_maybe(pull, "author_association") in _MEMBERS,
        labels=_labels(pull.get("labels"), "name"),
        added=frozenset({given}) if isinstance(given, str) else None,
        default_branch=_default_branch(payload, "repository"),
        told=_time(pull.get("updated_at")),
        statuses_url=str(fields.line("statuses_url", _maybe(pull, "statuses_url") or "")),
        payload=payload,
    )


def _is_strange(forge: str, project: str, pull: Mapping[str, Any]) -> bool:
    if _maybe(pull, "head", "repo", "full_name") != project:
        return True
    if forge == "github":
        return False
    # whoever may read a project of Forgejo or Gitea can push to refs/for/main: there is no fork and no
    # branch then, the head's repository is the project, its label empty and its ref the pull request's own
    label, ref = _maybe(pull, "head", "label"), _maybe(pull, "head", "ref")
    return not label or str(ref).startswith("refs/") or bool(pull.get("flow"))


def _github_push(forge: str, project: str, payload: Mapping[str, Any]) -> Hook | None:
    ref = _pushed(payload)
    head = _commit(payload, "", "after")
    if not ref or head == _NOTHING:
        return None
    return Hook(
        HookKind.PUSHED,
        forge,
        project,
        who=_login(_maybe(payload, "sender", "login")),
        head=head,
        ref=ref,
        branch=ref.removeprefix("refs/heads/"),
        clone=_clone(payload, "repository", "clone_url"),
        told=_time(_maybe(payload, "repository", "pushed_at")),
        member=True,
        payload=payload,
    )


def _github_comment(forge: str, project: str, payload: Mapping[str, Any]) -> Hook | None:
    issue = _table(payload, "issue")
    if not isinstance(issue.get("pull_request"), dict):
        return None
    comment = _table(payload, "comment")
    return Hook(
        HookKind.COMMENTED,
        forge,
        project,
        who=_login(_maybe(comment, "user", "login")),
        number=_number(issue, "issue", "number"),
        member=_maybe(comment, "author_association") in _MEMBERS,
        owner=_maybe(comment, "author_association") == "OWNER",
        comment=_text(comment, "comment", "body"),
        told=_time(comment.get("created_at")),
        payload=payload,
    )


def _github_rerun(forge: str, project: str, event: str, payload: Mapping[str, Any]) -> Hook | None:
    action = payload.get("action")
    asked = action == "requested_action" and _maybe(payload, "requested_action", "identifier") == "rerun"
    if action != "rerequested" and not asked:
        return None
    check = _table(payload, event)
    return Hook(
        HookKind.RERUN,
        forge,
        project,
        who=_login(_maybe(payload, "sender", "login")),
        head=_commit(check, event, "head_sha"),
        check=str(_maybe(check, "external_id") or "") if event == "check_run" else "",
        clone=_clone(payload, "repository", "clone_url"),
        member=True,  # the forge shows the button to those who may push
        payload=payload,
    )


def _gitlab(delivery: Delivery, payload: Mapping[str, Any]) -> Hook | None:
    kind = payload.get("object_kind")
    if kind == "push":
        return _gitlab_push(delivery.project, payload)
    if kind == "note":
        return _gitlab_note(delivery.project, payload)
    if kind != "merge_request":
        return None
    merge = _table(payload, "object_attributes")
    found = _gitlab_kind(merge, payload)
    return _gitlab_merge(found, delivery.project, payload, merge, "object_attributes") if found else None


def _gitlab_kind(merge: Mapping[str, Any], payload: Mapping[str, Any]) -> HookKind | None:
    action = merge.get("action")
    if action in ("open", "reopen") or (action == "update" and merge.get("oldrev")):
        return HookKind.UPDATED
    if action == "update" and _maybe(payload, "changes", "labels") is not None:
        return HookKind.LABELLED
    return HookKind.CLOSED if action in ("close", "merge") else None


def _gitlab_merge(
    kind: HookKind, project: str, payload: Mapping[str, Any], merge: Mapping[str, Any], place: str
) -> Hook:
    number = _number(merge, place, "iid")
    return Hook(
        kind,
        "gitlab",
        project,
        who=_login(_maybe(payload, "user", "username")),
        number=number,
        head=_commit(merge, place, "last_commit", "id"),
        ref=f"refs/merge-requests/{number}/head",
        branch=_branch(merge, place, "target_branch"),
        clone=_clone(payload, "project", "git_http_url"),
        stranger=merge.get("source_project_id") != merge.get("target_project_id"),
        labels=_labels(payload.get("labels") or merge.get("labels"), "title"),
        added=_gitlab_added(payload),
        default_branch=_default_branch(payload, "project"),
        told=_time(merge.get("updated_at")),
        payload=payload,
    )


def _gitlab_note(project: str, payload: Mapping[str, Any]) -> Hook | None:
    note = _table(payload, "object_attributes")
    if note.get("noteable_type") != "MergeRequest" or note.get("action", "create") != "create":
        return None
    text = _text(note, "object_attributes", "note")
    hook = _gitlab_merge(
        HookKind.COMMENTED, project, payload, _table(payload, "merge_request"), "merge_request"
    )
    return replace(hook, comment=text, told=_time(note.get("created_at")))


def _gitlab_added(payload: Mapping[str, Any]) -> frozenset[str] | None:
    before, after = (_maybe(payload, "changes", "labels", key) for key in ("previous", "current"))
    if not isinstance(before, list) or not isinstance(after, list):
        return None
    return _labels(after, "title") - _labels(before, "title")


def _gitlab_push(project: str, payload: Mapping[str, Any]) -> Hook | None:
    ref = _pushed(payload)
    if not ref or not payload.get("checkout_sha"):
        return None
    return Hook(
        HookKind.PUSHED,
        "gitlab",
        project,
        who=_login(_maybe(payload, "user_username")),
        head=_commit(payload, "", "checkout_sha"),
        ref=ref,
        branch=ref.removeprefix("refs/heads/"),
        clone=_clone(payload, "project", "git_http_url"),
        member=True,
        payload=payload,
    )


def _maybe(table: Any, *path: str) -> Any:
    for key in path:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _table(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = payload.get(key)
    if not isinstance(value, dict):
        raise RequestError(key, f"must be an object, not {fields.kind(value)}")
    return value


def _text(table: Mapping[str, Any], place: str, *path: str) -> str:
    value = _maybe(table, *path)
    if not isinstance(value, str):
        raise RequestError(_name(place, path), f"must be a string, not {fields.kind(value)}")
    return value


def _number(table: Mapping[str, Any], place: str, *path: str) -> int:
    value = _maybe(table, *path)
    if type(value) is not int or not 0 < value < 2**31:
        raise RequestError(_name(place, path), "must be the number of a pull request")
    return value


def _commit(table: Mapping[str, Any], place: str, *path: str) -> str:
    value = _text(table, place, *path)
    if not _COMMIT.fullmatch(value):
        raise RequestError(_name(place, path), "must be a commit's id: 40 or 64 hexadecimal digits")
    return value


def _pushed(payload: Mapping[str, Any]) -> str:
    """The branch that was pushed to; empty for a tag, and for a name that requests cannot hold."""
    ref = _text(payload, "", "ref")
    return ref if ref.startswith("refs/heads/") and len(ref) <= _LONGEST and _REF.fullmatch(ref) else ""


def _branch(table: Mapping[str, Any], place: str, *path: str) -> str:
    value = _text(table, place, *path)
    if len(value) > _LONGEST or not value.isprintable() or not _BRANCH.fullmatch(value):
        raise RequestError(_name(place, path), "holds a letter that is not taken in the name of a branch")
    return value


def _default_branch(payload: Mapping[str, Any], key: str) -> str:
    """As the forge says; what an operator's own delivery leaves out is what all forges call so."""
    if _maybe(payload, key, "default_branch") in (None, ""):
        return "HEAD"
    return _branch(payload, "", key, "default_branch")


def _time(value: Any) -> float:
    """Unix seconds of what forges write: seconds, or "2024-05-06T07:08:09Z", or "2024-05-06 07:08:09 UTC"."""
    if type(value) is int and 0 < value < 2**33:
        return float(value)
    if not isinstance(value, str) or len(value) > 40:
        return 0.0
    try:
        found = datetime.fromisoformat(re.sub(r" UTC$", "Z", value).replace(" +", "+"))
        return max((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _clone(payload: Mapping[str, Any], *path: str) -> str:
    return str(fields.git_url(_name("", path), _text(payload, "", *path)))


def _labels(value: Any, key: str) -> frozenset[str]:
    items = value if isinstance(value, list) else []
    found = (_maybe(item, key) for item in items[:1000])
    return frozenset(name for name in found if isinstance(name, str))


def _login(value: Any) -> str:
    return value if isinstance(value, str) and _LOGIN.fullmatch(value) else ""


def _name(place: str, path: tuple[str, ...]) -> str:
    return ".".join((place, *path) if place else path)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a hook says of itself: which forge, which project, what happened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

#: Forgejo and Gitea send the headers of those that they descend from, too: so they come first.
_EVENT = {
    "forgejo": ("x-forgejo-event", "x-gitea-event"),
    "gitea": ("x-gitea-event",),
    "gitlab": ("x-gitlab-event",),
    "github": ("x-github-event",),
}
_ID = {
    "forgejo": ("x-forgejo-delivery", "x-gitea-delivery"),
    "gitea": ("x-gitea-delivery",),
    # the first one stays the same when GitLab tries again; older versions lack it
    "gitlab": ("idempotency-key", "x-gitlab-event-uuid"),
    "github": ("x-github-delivery",),
}
#: What stands behind a key: a name, in JSON or in a form.
_SPACE, _QUOTE = rb"(?:\s|%20|\+)*", rb'(?:"|%22)'
_VALUE = re.compile(
    _QUOTE + _SPACE + rb"(?::|%3A)" + _SPACE + _QUOTE + rb"((?:[A-Za-z0-9_./-]|%2F){1,500})" + _QUOTE
)
#: Names that are tried: a pull request has three, its own, its source's and its target's.
_MOST_NAMES = 4
_MOST_PLACES = 64
#: What the forge function can make something of, in each forge's words.
_TAKEN = {
    "github": {"pull_request", "push", "issue_comment", "check_run", "check_suite"},
    "gitlab": {"merge request hook", "note hook", "push hook"},
    "forgejo": {"pull_request", "pull_request_sync", "pull_request_label", "push", "issue_comment"},
}
_TAKEN["forgejo"] |= {"pull_request_comment"}
_TAKEN["gitea"] = _TAKEN["forgejo"]


def forge_of(headers: Mapping[str, str]) -> str:
    """The forge that sent these headers; empty if none did."""
    return next((forge for forge, names in _EVENT.items() if names[0] in headers), "")


def event_of(forge: str, headers: Mapping[str, str]) -> str:
    """What the forge calls that which happened; empty if it does not say."""
    return _first(headers, _EVENT[forge])


def id_of(forge: str, headers: Mapping[str, str]) -> str:
    """The forge's id of the delivery; empty if it has none."""
    return _first(headers, _ID[forge])


def relevant(forge: str, event: str) -> bool:
    """True if something may follow from such an event."""
    return event.lower() in _TAKEN[forge]


def payload_of(headers: Mapping[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
    """The JSON object in a body, as text and read; GitHub sends it as a form unless told otherwise.

    Raises ValueError if there is none.
    """
    text = body.decode()
    if (
        headers.get("content-type", "").partition(";")[0].strip().lower()
        == "application/x-www-form-urlencoded"
    ):
        text = parse_qs(text, strict_parsing=True, max_num_fields=10)["payload"][0]
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  what was read is wrong, not how we were called
    text.encode()  # half a surrogate pair, from a form, is no text
    return text, value


def named_in(forge: str, body: bytes) -> tuple[str, ...]:
    """What a body that nobody has signed yet may call its project, without reading it: a few names.

    To read 4 MiB of JSON takes 0.3 s and 100 MB; to look for a word in them a millisecond.
    """
    key = b"path_with_namespace" if forge == "gitlab" else b"full_name"
    found: dict[str, None] = {}
    place = -1
    for _ in range(_MOST_PLACES):
        place = body.find(key, place + 1)
        if place < 0 or len(found) >= _MOST_NAMES:
            break
        if name := _VALUE.match(body, place + len(key)):
            found[name[1].decode().replace("%2F", "/")] = None
    return tuple(found)


def project_of(forge: str, payload: Mapping[str, Any]) -> str:
    """``owner/project``; ``owner/`` of what concerns an owner only; empty if it says neither."""
    if forge == "gitlab":
        return _text(payload.get("project"), "path_with_namespace")
    if found := _text(payload.get("repository"), "full_name"):
        return found
    owner = _text(payload.get("organization"), "login")
    return f"{owner}/" if owner else ""


def _text(table: Any, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) and len(value) <= 500 else ""


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((headers[name] for name in names if headers.get(name)), "")[:200]

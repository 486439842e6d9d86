# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries of GitHub in their full size: with all the addresses that nobody reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from typing import Any

from tests.hooks import github_pull, signed_headers

#: Addresses that it tells of repositories, of which there are three in a delivery, of people, and of pulls.
_OF_REPOSITORY = """archive assignees blobs branches collaborators comments commits compare contents
contributors deployments downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events
issues keys labels languages merges milestones notifications pulls releases stargazers statuses subscribers
subscription tags teams trees svn mirror git ssh clone"""
_OF_USER = """avatar events followers following gists html organizations received_events repos starred
subscriptions"""
_OF_PULL = "diff patch issue commits review_comments review_comment comments statuses"
_TEXT = "What it changes, and why: **bold**, `code`, “quoted” and a line.\r\n" * 50


PROJECTS = 100
_NUMBER, _HEAD, _NAME = 987654321, "0123456789abcdef" * 2 + "01234567", "hello.world"


def delivery(number: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of a pull request, 20 kB, signed; of one of `PROJECTS` projects."""
    body = _template().replace(str(_NUMBER).encode(), b"%d" % number)
    body = body.replace(_HEAD.encode(), hashlib.sha1(b"%d" % number).hexdigest().encode())
    body = body.replace(_NAME.encode(), f"{_NAME}-{number % PROJECTS}".encode())
    return signed_headers("pull_request", f"delivery-{number}", body), body


@cache
def _template() -> bytes:
    hook = github_pull("synchronize", number=_NUMBER, head=_HEAD)
    payload = _full(json.loads(hook.body))
    payload["pull_request"]["body"] = _TEXT
    return replace(hook, payload=payload).body


def _full(value: Any) -> Any:
    if isinstance(value, list):
        return [_full(item) for item in value]
    if not isinstance(value, dict):
        return value
    names, place = "", ""
    if "full_name" in value:
        names, place = _OF_REPOSITORY, f"repos/{value['full_name']}"
    elif "login" in value:
        names, place = _OF_USER, f"users/{value['login']}"
    elif "head" in value:
        names, place = _OF_PULL, f"repos/octo-org/hello.world/pulls/{value['number']}"
    added = {f"{name}_url": f"https://api.github.com/{place}/{name}{{/other}}" for name in names.split()}
    return {**added, **{key: _full(item) for key, item in value.items()}}

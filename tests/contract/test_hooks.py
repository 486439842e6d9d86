# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries in the forms that the forges document, and anything else that may come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.contract.hooks import SETTINGS, delivered, fuzz, read, wishes_for
from tests.hooks import (
    HEAD,
    PROJECT,
    Hook,
    forgejo_comment,
    forgejo_pull,
    github_comment,
    github_pull,
    github_push,
    github_rerun,
    gitlab_merge,
    gitlab_note,
    gitlab_push,
)
from testyard.errors import RequestError, ResultError
from testyard.intake.delivery import Delivery
from testyard.intake.hook import HookKind, of_pull_request, read_hook
from testyard.intake.hookfile import (
    Ask,
    asks_of_address,
    commands_of,
)

CLONES = {
    "github": "https://github.com/octo-org/hello.world.git",
    "gitlab": "https://gitlab.com/octo-org/hello.world.git",
    "forgejo": "https://codeberg.org/octo-org/hello.world.git",
    "gitea": "https://codeberg.org/octo-org/hello.world.git",
}
PULLS: list[tuple[Hook, HookKind]] = [
    (github_pull("opened"), HookKind.UPDATED),
    (github_pull("reopened"), HookKind.UPDATED),
    (github_pull("synchronize"), HookKind.UPDATED),
    (github_pull("labeled"), HookKind.LABELLED),
    (github_pull("closed"), HookKind.CLOSED),
    (gitlab_merge("open"), HookKind.UPDATED),
    (gitlab_merge("reopen"), HookKind.UPDATED),
    (gitlab_merge("update"), HookKind.UPDATED),
    (gitlab_merge("update", oldrev="", changes={"labels": {"previous": []}}), HookKind.LABELLED),
    (gitlab_merge("merge"), HookKind.CLOSED),
    (forgejo_pull("opened"), HookKind.UPDATED),
    (forgejo_pull("reopened"), HookKind.UPDATED),
    (forgejo_pull("synchronized"), HookKind.UPDATED),
    (forgejo_pull("label_updated"), HookKind.LABELLED),
    (forgejo_pull("closed"), HookKind.CLOSED),
    (forgejo_pull("opened", forge="gitea"), HookKind.UPDATED),
]


@pytest.mark.parametrize(("hook", "kind"), PULLS, ids=[f"{h.forge}-{k}" for h, k in PULLS])
def test_pull_requests(hook: Hook, kind: HookKind) -> None:
    found = read(hook)
    git = "merge-requests" if hook.forge == "gitlab" else "pull"
    assert (found.kind, found.forge, found.project, found.number) == (kind, hook.forge, PROJECT, 2)
    assert (found.head, found.ref, found.branch) == (HEAD, f"refs/{git}/2/head", "main")
    assert (found.clone, found.stranger) == (CLONES[hook.forge], False)
    assert found.labels == {"needs-tests"}
    assert found.thing == f"{hook.forge}/{PROJECT}#2"
    assert found.who == {"gitlab": "root"}.get(hook.forge, "octocat")


@pytest.mark.parametrize(
    "hook",
    [github_pull("opened", fork=True), gitlab_merge("open", fork=True), forgejo_pull("opened", fork=True)],
)
def test_strangers(hook: Hook) -> None:
    found = read(hook)
    assert (found.stranger, found.member, found.clone) == (True, False, CLONES[hook.forge])


@pytest.mark.parametrize(
    "head",
    [
        {"label": "", "ref": "refs/pull/2/head"},  # as Forgejo and Gitea tell of a push to refs/for/main
        {"label": "", "ref": "changes"},
        {"label": "changes", "ref": "refs/pull/2/head"},  # its branch is gone
    ],
)
def test_a_push_to_refs_for_is_a_strangers(head: dict[str, str]) -> None:
    hook = forgejo_pull("opened")
    payload = json.loads(json.dumps(hook.payload))
    payload["pull_request"]["head"].update(head)
    assert read(replace(hook, payload=payload)).stranger
    assert read(forgejo_pull("opened", agit=True, forge="gitea")).stranger


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20.250Z", 1_700_000_000.25),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        ("2023-11-14 22:13:20 UTC", 1_700_000_000.0),
        ("2023-11-14 22:13:20 +0000", 1_700_000_000.0),
        ("0001-01-01T00:00:00Z", 0.0),
        ("yesterday", 0.0),
        (None, 0.0),
        (2**70, 0.0),
    ],
)
def test_when_a_forge_told_of_it(written: Any, seconds: float) -> None:
    hook = github_pull("opened")
    pull = {**hook.payload["pull_request"], "updated_at": written}
    assert read(replace(hook, payload={**hook.payload, "pull_request": pull})).told == seconds


def test_branches_of_any_name() -> None:
    """To be merged into; what is pushed to them is not fetched."""
    assert read(github_pull("opened", base_ref="größe/fix(#12)")).branch == "größe/fix(#12)"
    refs = ["refs/tags/@scope/pkg@1.2.3", "refs/heads/fix(#12)", "refs/heads/größe"]
    assert [read_hook(delivered(github_push(ref=ref))) for ref in refs] == [None, None, None]


@pytest.mark.parametrize("hook", [github_push(), gitlab_push()])
def test_pushes(hook: Hook) -> None:
    found = read(hook)
    assert (found.kind, found.number, found.head) == (HookKind.PUSHED, 0, HEAD)
    assert (found.ref, found.branch, found.clone) == ("refs/heads/main", "main", CLONES[hook.forge])


def test_what_does_not_matter() -> None:
    silent = [
        github_pull("assigned"),
        github_push(ref="refs/tags/v1"),
        replace(github_push(), payload={**github_push().payload, "after": "0" * 40}),
        github_comment("/test", pull=False),
        github_rerun(action="created"),
        gitlab_merge("approved"),
        gitlab_merge("update", oldrev=""),
        replace(
            gitlab_note("/test"),
            payload={**gitlab_note("/test").payload, "object_attributes": {"noteable_type": "Issue"}},
        ),
        forgejo_pull("assigned"),
    ]
    assert [read_hook(delivered(hook)) for hook in silent] == [None] * len(silent)


def test_comments() -> None:
    found = read(github_comment("/test"))
    assert (found.kind, found.number, found.who, found.member, found.head) == (
        HookKind.COMMENTED,
        2,
        "octocat",
        True,
        "",
    )
    assert not read(github_comment("/test", association="CONTRIBUTOR")).member
    pull = github_pull("opened", fork=True).payload["pull_request"]
    full = of_pull_request(found, pull)
    assert (full.head, full.stranger, full.ref) == (HEAD, True, "refs/pull/2/head")
    note = read(gitlab_note("/retest"))
    assert (note.kind, note.head, note.comment, note.member) == (HookKind.COMMENTED, HEAD, "/retest", False)
    assert read(forgejo_comment("/cancel")).comment == "/cancel"


def test_buttons() -> None:
    found = read(github_rerun(external="the-id"))
    assert (found.kind, found.check, found.head) == (HookKind.RERUN, "the-id", HEAD)
    assert read(github_rerun("check_suite")).check == ""
    asked = github_rerun(action="requested_action")
    assert read_hook(delivered(asked)) is None
    asked = replace(asked, payload={**asked.payload, "requested_action": {"identifier": "rerun"}})
    assert read(asked).kind is HookKind.RERUN


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("pull_request",), None, "pull_request"),
        (("pull_request", "number"), "2", "pull_request.number"),
        (("pull_request", "head", "sha"), "abc; rm -rf", "pull_request.head.sha"),
        (("pull_request", "base", "ref"), "main\nX: y", "pull_request.base.ref"),
        (("pull_request", "base", "ref"), "--upload-pack=x", "pull_request.base.ref"),
        (("pull_request", "statuses_url"), "http://x\nEVIL=1", "statuses_url"),
        (("repository", "clone_url"), "file:///etc/passwd", "repository.clone_url"),
        (("repository", "clone_url"), "https://u:p@github.com/x", "repository.clone_url"),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str, ...], value: Any, field: str) -> None:
    payload = json.loads(json.dumps(github_pull("opened").payload))
    table = payload
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    payload["repository"]["full_name"] = PROJECT
    with pytest.raises(RequestError) as caught:
        read_hook(delivered(replace(github_pull("opened"), payload=payload)))
    assert caught.value.field == field


def test_a_replay_has_the_same_key_and_other_things_have_not() -> None:
    one = delivered(replace(github_pull("opened"), id="a"), "x=1")
    assert replace(one, id="b", time=1.0, address="x").key == one.key
    assert replace(one, query="x=2").key != one.key
    assert replace(one, body=one.body + " ").key != one.key
    again = delivered(replace(github_rerun(), id="a"))
    assert replace(again, id="b").key != again.key  # pressed twice
    suite = delivered(replace(github_rerun("check_suite"), id="a"))
    assert replace(suite, id="b").key == suite.key
    assert Delivery.from_bytes(one.to_bytes()) == one
    older = {
        key: value for key, value in json.loads(one.to_bytes()).items() if key not in ("not_before", "waits")
    }
    assert Delivery.from_bytes(json.dumps(older).encode()) == one


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
ALL = [
    *(hook for hook, _ in PULLS),
    github_comment("/test"),
    github_push(),
    github_rerun(),
    gitlab_note("/retest"),
    gitlab_push(),
    forgejo_comment("/cancel"),
]


def changed(value: Any, data: st.DataObject) -> Any:
    """The same with one value in any depth of it replaced or removed."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 9)) == 0:
            return {name: inner for name, inner in value.items() if name != key}
        return {**value, key: changed(value[key], data)}
    return data.draw(
        JSON | st.sampled_from([[value], {"x": value}, "x\n", "-x", "\x00", "'\"<script>", 2**63, -1])
    )


def anything_may_come(data: st.DataObject) -> None:
    """Whatever comes is read, or refused by an error that names a field: no other error."""
    hook = data.draw(st.sampled_from(ALL))
    payload: Any = hook.payload
    for _ in range(data.draw(st.integers(1, 3))):
        payload = changed(payload, data)
    query = data.draw(st.sampled_from(["", "release=noble&arch=amd64"]) | st.text(max_size=40))
    text = json.dumps(payload)
    delivery = replace(delivered(hook), body=text, query=query)
    try:
        found = read_hook(Delivery.from_bytes(delivery.to_bytes()))
        if found is None:
            return
        commands_of(found.comment)
        if found.head:
            wishes_for(SETTINGS, asks_of_address(query) or (Ask(release=("noble",)),), found, delivery)
    except (RequestError, ResultError) as error:
        assert "\n" not in error.brief  # noqa: PT017
        assert "\x1b" not in error.brief  # noqa: PT017
        assert len(error.brief) < 2000  # noqa: PT017


def test_anything_may_come() -> None:
    fuzz(anything_may_come, 200)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_anything_may_come_at_length() -> None:
    fuzz(anything_may_come, 50_000)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries in the forms that the forges document, and anything else that may come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.forge.plan import wishes_for
from functions.webhook.hook import event_of, id_of, payload_of, project_of, relevant
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
from testyard.intake.hook import Hook as Found
from testyard.intake.hook import HookKind, of_pull_request, read_hook
from testyard.intake.hookfile import (
    Ask,
    Command,
    asks_of_address,
    asks_of_file,
    asks_of_project,
    commands_of,
)
from testyard.settings import Settings, Topology

SETTINGS = Settings(topology=Topology(releases=("noble", "jammy"), architectures=("amd64", "arm64")))


def delivered(hook: Hook, query: str = "") -> Delivery:
    headers = {name.lower(): value for name, value in hook.headers.items()}
    text, payload = payload_of(headers, hook.body)
    event = event_of(hook.forge, headers)
    assert relevant(hook.forge, event)
    return Delivery(
        forge=hook.forge,
        project=project_of(hook.forge, payload),
        event=event,
        id=id_of(hook.forge, headers),
        query=query,
        address="192.0.2.1",
        body=text,
        time=1_700_000_000.5,
    )


def read(hook: Hook) -> Found:
    found = read_hook(delivered(hook))
    assert found is not None
    return found


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
    assert Delivery.from_bytes(one.to_bytes()) == one


def test_the_address_asks_as_it_always_did() -> None:
    query = "release=noble&arch=amd64&arch=arm64&package=systemd-upstream&ppa=a%2Fb"
    query += "&env=CFLAGS%3D-O0%3BX%3D1&build-git=https%3A%2F%2Fsalsa.example.org%2Fx"
    hook = read(github_pull("opened"))
    wishes = wishes_for(SETTINGS, asks_of_address(query), hook, delivered(github_pull("opened"), query))
    assert [str(wish.queue) for wish in wishes] == [
        "debci-upstream-noble-amd64",
        "debci-upstream-noble-arm64",
    ]
    statuses = f"https://api.github.com/repos/{PROJECT}/statuses/{HEAD}"
    for wish in wishes:
        assert (wish.package, wish.subject) == ("systemd-upstream", f"github/{PROJECT}#2@{HEAD}")
        assert wish.parameters == {
            "ppas": ["a/b"],
            "build-git": "https://salsa.example.org/x",
            "env": [
                "CFLAGS=-O0",
                "X=1",
                "UPSTREAM_PULL_REQUEST=2",
                f"UPSTREAM_COMMIT={HEAD}",
                f"GITHUB_STATUSES_URL={statuses}",
            ],
            "submit-time": "2023-11-14 22:13:20+0000",
        }
    assert len({wish.request_id for wish in wishes}) == 2
    again = wishes_for(SETTINGS, asks_of_address(query), hook, delivered(github_pull("opened"), query))
    assert [wish.request_id for wish in again] == [wish.request_id for wish in wishes]


@pytest.mark.parametrize(
    "query",
    [
        "colour=1",
        "readable-by=x",
        "release=a&release=b&package=x&package=y",
        "&".join(f"env={n}%3D1" for n in range(300)),
    ],
)
def test_wrong_addresses(query: str) -> None:
    with pytest.raises(RequestError):
        asks_of_address(query)


def test_the_file() -> None:
    content = b"""
    [[test]]
    name = "quick"
    release = "noble"
    arch = "amd64"
    testname = "smoke"
    env = ["A=1"]

    [[test]]
    name = "all"
    labels = ["needs-tests"]
    branches = ["main", "stable"]
    on = ["pull-request", "push"]
    package = "hello"
    """
    quick, full = asks_of_file(content)
    assert quick == Ask("quick", ("noble",), ("amd64",), "", {"testname": "smoke", "env": ["A=1"]})
    hook = read(github_pull("opened"))
    delivery = delivered(github_pull("opened"))

    def queues(hook: Found, command: Command | None = None) -> list[str]:
        asks = (quick, replace(full, release=("jammy",)))
        return [
            f"{wish.package} {wish.queue}" for wish in wishes_for(SETTINGS, asks, hook, delivery, command)
        ]

    one = ["hello.world debci-upstream-noble-amd64"]
    both = ["hello debci-upstream-jammy-amd64", "hello debci-upstream-jammy-arm64"]
    assert queues(hook) == one + both
    assert queues(replace(hook, labels=frozenset())) == one
    assert queues(replace(hook, labels=frozenset()), Command("test")) == one + both
    assert queues(replace(hook, branch="other")) == one
    assert queues(replace(hook, kind=HookKind.LABELLED)) == both
    assert queues(read(github_push())) == both
    assert queues(hook, Command("test", ("quick",))) == one
    assert queues(hook, Command("test", ("smoke",))) == one
    assert queues(hook, Command("test", ("jammy/arm64", "noble"))) == one + both[1:]
    with pytest.raises(RequestError, match=r"nothing is called never; there is: .*quick"):
        queues(hook, Command("test", ("never",)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"\xff",
        b"x = 1\n[[test]]",
        b"test = 1",
        b"[[test]]\ncolour = 1",
        b"[[test]]\narch = 1",
        b"[[test]]\non = 'tag'",
        b"[[test]]\npackage = ['a']",
        b"[[test]]\n" * 21,
        b"[[test]]\nreadable-by = 'x'",
    ],
)
def test_wrong_files(content: bytes) -> None:
    with pytest.raises(RequestError, match=r"testyard\.toml"):
        asks_of_file(content)


def test_defaults_of_a_project() -> None:
    assert asks_of_project({}) == ()
    assert asks_of_project({"release": ("noble",), "package": "x"}) == (Ask("", ("noble",), (), "x"),)


def test_commands() -> None:
    text = (
        "Looks good.\r\n/test quick noble/amd64\r\n> /cancel\r\n/retest\n /test\n/testing\nsee /test\n/retest"
    )
    assert commands_of(text) == (Command("test", ("quick", "noble/amd64")), Command("retest"))
    assert len(commands_of("\n".join(f"/test {n}" for n in range(50)))) == 5


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


def any_file_may_come(data: st.DataObject) -> None:
    """As above, for files, addresses and comments."""
    keys = st.sampled_from(["name", "release", "arch", "on", "env", "labels", "package", "x"])
    values = st.sampled_from(['"noble"', '["amd64"]', "1", '["a\\nb"]', "[[1]]", "{}", '"-x"', "1979-05-27"])
    lines = st.lists(st.one_of(st.just("[[test]]"), st.builds("{} = {}".format, keys, values)), max_size=8)
    content = data.draw(st.binary(max_size=60) | lines.map(lambda found: "\n".join(found).encode()))
    hook, delivery = read(github_pull("opened")), delivered(github_pull("opened"))
    for asks in (lambda: asks_of_file(content), lambda: asks_of_address(content.decode("latin-1"))):
        try:
            wishes_for(SETTINGS, asks(), hook, delivery)
        except RequestError as error:
            assert "\n" not in error.brief  # noqa: PT017
    commands_of(content.decode("latin-1"))


def fuzz(check: Any, cases: int) -> None:
    calm = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings(max_examples=cases, deadline=None, suppress_health_check=calm, database=None)(
        given(st.data())(check)
    )()


@pytest.mark.parametrize("check", [anything_may_come, any_file_may_come])
def test_anything_may_come(check: Any) -> None:
    fuzz(check, 200)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("check", [anything_may_come, any_file_may_come])
def test_anything_may_come_at_length(check: Any) -> None:
    fuzz(check, 50_000)

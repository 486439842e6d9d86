# SPDX-License-Identifier: AGPL-3.0-or-later
"""What projects ask for: their files, their hooks' addresses, comments."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from tests.contract.hooks import SETTINGS, contexts_of, delivered, fuzz, read, wishes_for
from tests.hooks import HEAD, PROJECT, github_pull, github_push
from testyard.errors import RequestError
from testyard.intake.hook import Hook as Found
from testyard.intake.hook import HookKind
from testyard.intake.hookfile import (
    Ask,
    Command,
    asks_of_address,
    asks_of_file,
    asks_of_project,
    commands_of,
)


def test_each_test_has_its_own_place() -> None:
    one = '[[test]]\nrelease = "noble"\narch = "amd64"\n'
    hook = github_pull("opened")
    assert contexts_of(one, hook) == ["noble/amd64"]
    assert contexts_of(one + 'testname = "smoke"\n' + one, hook) == ["noble/amd64 smoke", "noble/amd64"]
    named = one + 'name = "plain"\n' + one + 'name = "asan"\n'
    assert contexts_of(named, hook) == ["noble/amd64: plain", "noble/amd64: asan"]
    unwanted = one + 'name = "plain"\n' + one + 'name = "asan"\non = "push"\n'
    assert contexts_of(unwanted, hook) == ["noble/amd64: plain"]
    packages = one + one + 'package = "other"\n'
    assert contexts_of(packages, hook) == ["noble/amd64: hello.world", "noble/amd64: other"]
    assert contexts_of(one + one + 'name = "x"\n', hook) == ["noble/amd64: test 1", "noble/amd64: x 2"]
    wrong = one + '[[test]]\nrelease = "warty"\non = "push"\n'  # not of this event
    assert contexts_of(wrong, hook) == ["noble/amd64"]


@pytest.mark.parametrize(
    "content",
    [
        b".".join([b"a"] * 40_000) + b" = 1",
        b".".join([b"a"] * 8_000) + b" = 1",
        b"[" + b" . ".join([b"a"] * 4_000) + b"]",
        b"\n".join(b"[" + b".".join([b"a"] * 60) + b".b%d]" % number for number in range(120)),
        b"x = " + b"[" * 16_000,
        b"x = " + b"{a=" * 5_000,
    ],
)
def test_no_file_keeps_the_reader_busy(content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(RequestError, match=r"testyard\.toml"):
        asks_of_file(content)
    assert time.process_time() - began < 0.5


def test_the_address_asks_as_it_always_did() -> None:
    query = "release=noble&arch=amd64&arch=arm64&package=systemd-upstream&ppa=a%2Fb"
    query += "&env=CFLAGS%3D-O0%3BX%3D1&build-git=https%3A%2F%2Fsalsa.example.org%2Fx"
    delivery = delivered(github_pull("opened"), query)
    hook = read(github_pull("opened"))
    wishes = wishes_for(SETTINGS, asks_of_address(query), hook, delivery)
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
    again = wishes_for(SETTINGS, asks_of_address(query), hook, delivery)
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
    assert queues(replace(hook, kind=HookKind.LABELLED, added=frozenset({"needs-tests"}))) == both
    assert queues(replace(hook, kind=HookKind.LABELLED, added=frozenset({"other"}))) == []
    stranger = replace(hook, stranger=True)  # the label was given for what was there before
    assert queues(stranger) == one
    assert queues(replace(stranger, kind=HookKind.LABELLED)) == []
    assert queues(replace(stranger, kind=HookKind.LABELLED, added=hook.labels)) == both
    assert queues(stranger, Command("test")) == one + both
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


def test_any_file_may_come() -> None:
    fuzz(any_file_may_come, 200)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_any_file_may_come_at_length() -> None:
    fuzz(any_file_may_come, 50_000)

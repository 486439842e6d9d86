# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of deliveries, with real RabbitMQ, Swift and databases, and forges that go by their books."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import select

from functions.forge.app import hook_work
from tests.hooks import (
    HEAD,
    PROJECT,
    SECRET,
    Hook,
    forgejo_comment,
    forgejo_pull,
    github_comment,
    github_pull,
    github_push,
    github_rerun,
    gitlab_merge,
    gitlab_note,
)
from tests.integration.brokers import channel_to, wait_for, waiting
from tests.integration.functions.hook_yard import ADDRESS, OTHER, QUEUE, Yard, at
from testyard.adapters.amqp import HOOKS_LATER_QUEUE, HOOKS_QUEUE, Publisher
from testyard.errors import ResultError
from testyard.event import Event, EventKind
from testyard.index.write import apply_event
from testyard.intake.audit import deeds
from testyard.intake.delivery import Delivery
from testyard.intake.projects import ProjectFile
from testyard.intake.schema import delivery as delivery_table
from testyard.intake.statuses import Shown, change
from testyard.queue import DEAD_LETTERS


def test_a_pull_request_is_tested(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    ((queue, request),) = yard.sent()
    assert (queue, request.package, request.requester) == (str(QUEUE), "hello-upstream", "octocat")
    assert request.build_git == "https://github.com/octo-org/hello.world.git#" + HEAD
    assert "UPSTREAM_PULL_REQUEST=2" in request.env
    assert yard.statuses() == {"noble/amd64": ("queued", "")}
    assert yard.audit()[0] == ("hook taken", "1 requests")


def test_a_replay_does_nothing(yard: Yard) -> None:
    hook = github_pull("opened")
    yard.deliver(hook)
    yard.sent()
    yard.deliver(hook, id="another id")
    assert yard.sent() == []
    assert yard.audit()[0] == ("hook taken", "it came before")


def test_one_that_was_cut_off_in_the_middle_asks_for_the_same(yard: Yard) -> None:
    hook = github_pull("opened")
    yard.deliver(hook)
    first = yard.sent()
    with yard.engine.begin() as connection:
        connection.execute(delivery_table.delete())  # killed before it was remembered
    yard.deliver(hook, time=time.time() + 1)
    assert yard.sent() == []
    assert yard.ids() == {first[0][1].uuid}


def test_a_new_push_ends_what_it_supersedes(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), ADDRESS + "&arch=arm64")
    old = yard.ids()
    yard.deliver(github_pull("opened", number=3))
    other = yard.ids() - old
    late = github_pull("synchronize", head="2" * 40)
    push = github_pull("synchronize", head=OTHER)
    yard.deliver(push)
    new = yard.ids() - old - other
    assert len(old) == 2
    assert len(new) == 1
    assert {each: yard.is_cancelled(each) for each in old | other | new} == {
        **dict.fromkeys(old, True),
        **dict.fromkeys(other | new, False),
    }
    # a second hook of the project, for the same push, is no newer push
    yard.deliver(push, "release=noble&arch=arm64&package=other")
    assert not any(map(yard.is_cancelled, new))
    # one that comes late, by the forge's time, asks for nothing and ends nothing
    yard.deliver(late, time=time.time() + 60)
    assert yard.audit()[0] == ("hook refused", "a newer push is being tested")
    assert not any(map(yard.is_cancelled, new))
    yard.deliver(github_pull("closed", head=OTHER), time=time.time() + 5)
    assert all(map(yard.is_cancelled, new))


def test_what_has_ended_is_not_cancelled(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    (old,) = yard.ids()
    with yard.engine.begin() as connection:
        apply_event(connection, Event(EventKind.REJECTED, old, str(QUEUE), "", data={"reason": "x"}))
    yard.deliver(github_pull("synchronize", head=OTHER), time=time.time() + 2)
    assert not yard.is_cancelled(old)


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (github_pull("opened"), "github"),
        (gitlab_merge("open"), "gitlab"),
        (forgejo_pull("opened"), "forgejo"),
        (forgejo_pull("opened", forge="gitea"), "gitea"),
    ],
)
def test_the_file_of_the_project(yard: Yard, hook: Hook, name: str) -> None:
    yard.forge.files[PROJECT, ".testyard.toml", HEAD] = b'[[test]]\narch = "arm64"\ntestname = "smoke"\n'
    yard.deliver(hook, "")
    ((queue, request),) = yard.sent()
    assert (queue, request.package, request.testname) == (
        "debci-upstream-noble-arm64",
        "hello.world",
        "smoke",
    )
    assert yard.statuses(forge=name) == {"noble/arm64 smoke": ("queued", "")}


def test_a_strangers_file_is_not_read(yard: Yard) -> None:
    yard.forge.files[PROJECT, ".testyard.toml", HEAD] = b'[[test]]\nenv = ["THEIRS=1"]\n'
    yard.forge.files[PROJECT, ".testyard.toml", "main"] = b'[[test]]\narch = "amd64"\nenv = ["OURS=1"]\n'
    yard.deliver(github_pull("opened", fork=True), "")
    ((_, request),) = yard.sent()
    assert "OURS=1" in request.env
    assert "THEIRS=1" not in request.env


@pytest.mark.parametrize(
    ("file", "query", "problem"),
    [
        (None, "", "there is none in commit f95f852bd8"),
        (b"[", "", "no TOML"),
        (b'[[test]]\nrelease = "warty"\n', "", "'warty' is not configured"),
        (None, "release=noble&arch=z80", "'z80' is not configured"),
        (None, ADDRESS + "&ppa=x", "ppas"),
        (None, ADDRESS + "&readable-by=me", "readable-by: is no parameter"),
        (None, ADDRESS + "&env=1%3D2", "env"),
        (None, ADDRESS + "&build-git=file%3A%2F%2F%2Fetc", "build-git"),
    ],
)
def test_what_cannot_be_asked_for_is_told_on_the_pull_request(
    yard: Yard, file: bytes | None, query: str, problem: str
) -> None:
    if file is not None:
        yard.forge.files[PROJECT, ".testyard.toml", HEAD] = file
    yard.deliver(github_pull("opened"), query)
    assert yard.sent() == []
    state, reason = yard.statuses()["testyard"]
    assert state == "rejected"
    assert problem in reason
    assert yard.audit()[0] == ("hook refused", reason)
    yard.deliver(github_pull("reopened"))  # somebody has mended it
    assert yard.statuses() == {"testyard": ("pass", ""), "noble/amd64": ("queued", "")}


def test_commands(yard: Yard) -> None:
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_comment("/test arm64"), ADDRESS + "&arch=arm64")
    ((queue, _),) = yard.sent()
    assert queue == "debci-upstream-noble-arm64"
    (first,) = yard.ids()
    yard.deliver(github_comment("/test"), ADDRESS + "&arch=arm64")  # forced: also what waits already
    assert len(yard.sent()) == 2
    yard.deliver(github_comment("thanks"))
    assert yard.audit()[0] == ("hook taken", "no command")
    yard.deliver(github_comment("/test never"))
    assert "nothing is called never" in yard.statuses()["testyard"][1]
    yard.deliver(github_comment("/cancel"), time=time.time() + 5)
    assert yard.is_cancelled(first)


def test_strangers_give_no_commands(yard: Yard) -> None:
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_pull("opened"))
    yard.sent()
    for text in ("/test", "/cancel", "/test\n/cancel"):
        yard.deliver(github_comment(text, association="NONE", user="stranger"))
        action, reason = yard.audit()[0]
        assert (action, f"{at(yard.forge)}/stranger may not" in reason) == ("hook refused", True)
    assert yard.sent() == []
    assert not any(map(yard.is_cancelled, yard.ids()))
    yard.deliver(github_comment("/test", association="NONE", user="friend"))
    ((_, request),) = yard.sent()
    assert request.requester == "friend"


def test_retest_and_the_button(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), ADDRESS + "&arch=arm64")
    first = dict(yard.sent())
    failed = first[str(QUEUE)].uuid or ""
    passed = first["debci-upstream-noble-arm64"].uuid or ""
    with yard.engine.begin() as connection:
        for each in (failed, passed):
            apply_event(connection, Event(EventKind.REJECTED, each, str(QUEUE), "", data={"reason": "x"}))
        change(connection, failed, Shown.FAIL, when=time.time())
        change(connection, passed, Shown.PASS, when=time.time())
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_comment("/retest"))
    ((queue, request),) = yard.sent()
    assert (queue, request.env, request.build_git) == (str(QUEUE), first[queue].env, first[queue].build_git)
    assert request.uuid != failed
    assert yard.statuses()["noble/amd64"] == ("queued", "")
    yard.deliver(github_rerun(external=passed))
    ((queue, _),) = yard.sent()
    assert queue == "debci-upstream-noble-arm64"
    yard.deliver(github_rerun(external="99999999-9999-4999-8999-999999999999"))
    assert yard.audit()[0] == ("hook taken", "nothing is to run again")


def test_comments_of_other_forges(yard: Yard) -> None:
    for hook in (gitlab_note("/test"), forgejo_comment("/test")):
        yard.forge.pulls[PROJECT, 2] = dict(forgejo_pull("opened").payload["pull_request"])
        yard.deliver(hook)
        assert "may not request tests" in yard.audit()[0][1]


def test_pushes_only_if_the_file_says_so(yard: Yard) -> None:
    yard.forge.files[PROJECT, ".testyard.toml", HEAD] = (
        b'[[test]]\narch = "amd64"\non = "push"\nbranches = "main"\n'
    )
    yard.deliver(github_push(), "")
    ((_, request),) = yard.sent()
    assert request.build_git == "https://github.com/octo-org/hello.world.git#" + HEAD
    yard.deliver(github_push(ref="refs/heads/other"), "")
    assert yard.sent() == []
    yard.deliver(github_push(), ADDRESS)
    assert yard.sent() == []


def test_a_forge_that_is_away_is_asked_later(yard: Yard) -> None:
    yard.forge.refuse(503, times=2)
    yard.deliver(github_pull("opened"), "")
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 1
    assert yard.statuses() == {}
    ((action, why),) = yard.audit()
    assert (action, why.startswith("waits: "), "503" in why) == ("hook taken", True, True)
    with channel_to(yard.rabbit.url) as channel:
        _, _, body = channel.basic_get(HOOKS_LATER_QUEUE, auto_ack=True)
    yard.work.handle(body)
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 1
    assert len(yard.audit()) == 1, "one line for all its waiting"
    yard.pauses_end()
    yard.deliver(github_pull("opened"), "", time=time.time() - 22000)
    assert "503" in yard.statuses()["testyard"][1]


def test_what_cannot_be_read_is_parked_and_stops_nothing(yard: Yard) -> None:
    broken = replace(github_pull("opened"), payload={**github_pull("opened").payload, "pull_request": {}})
    with pytest.raises(ResultError, match=r"pull_request\.number"):
        yard.deliver(broken)
    assert yard.audit()[0][0] == "hook refused"
    with pytest.raises(ResultError):
        yard.work.handle(b"[]")
    unknown = replace(
        github_pull("opened"), payload={**github_pull("opened").payload, "repository": {"full_name": "a/b"}}
    )
    yard.deliver(unknown)
    assert yard.audit()[0] == ("hook refused", "there is no such project any more")


def test_refused_ones_are_in_the_audit_log(yard: Yard) -> None:
    yard.work.handle(
        Delivery(
            "github", "", "push", "id", "", "192.0.2.9", refused="its signature is wrong", left_out=7
        ).to_bytes()
    )
    with yard.engine.connect() as connection:
        ((_, deed),) = deeds(connection)
    assert (str(deed.action), deed.address, deed.details["left_out"]) == ("hook refused", "192.0.2.9", 7)
    assert SECRET not in json.dumps(dict(deed.details))


def test_who_is_refused_often_does_not_fill_the_audit_log(yard: Yard) -> None:
    for number in range(130):
        refused = Delivery(
            "github", "", "push", str(number), "", "192.0.2.9", refused="its signature is wrong"
        )
        yard.work.handle(refused.to_bytes())
    with yard.engine.connect() as connection:
        assert len(deeds(connection, limit=200)) <= 101


def test_old_deliveries_are_forgotten(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), time=time.time() - 31 * 86400)
    yard.deliver(github_pull("opened", number=3))
    yard.work.forget_old()
    with yard.engine.connect() as connection:
        assert len(connection.execute(select(delivery_table)).all()) == 1


def test_as_it_is_served(yard: Yard) -> None:
    """From the queue, one bad delivery among good ones."""
    works = hook_work(yard.settings, ProjectFile(yard.settings.intake.projects))
    threads = [threading.Thread(target=work.run, daemon=True) for work in works]
    with Publisher(yard.rabbit.url) as publisher:
        publisher.publish("", HOOKS_QUEUE, b"no JSON")
        for number in range(1, 6):
            hook = github_pull("opened", number=number)
            made = Delivery(
                "github", PROJECT, "pull_request", str(number), ADDRESS, "192.0.2.1", hook.body.decode()
            )
            publisher.publish("", HOOKS_QUEUE, made.to_bytes())
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(yard.ids()) == 5)
        assert waiting(yard.rabbit, DEAD_LETTERS) == 1
        assert [work.problem() for work in works] == ["", ""]
    finally:
        for work in works:
            work.stop()
        for thread in threads:
            thread.join(10)
    with suppress(AssertionError):
        wait_for(lambda: len(yard.sent()) == 5, 1)


def test_a_cancel_that_is_worked_on_twice_cancels_nothing_that_came_after_it(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), ADDRESS, time=time.time() - 100)
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    before, when, hook = yard.ids(), time.time(), github_comment("/cancel\n/test")
    yard.deliver(hook, time=when)
    (new,) = yard.new_ids(before)
    with yard.engine.begin() as connection:  # killed before it was remembered
        connection.execute(delivery_table.delete())
    yard.deliver(hook, time=when)
    assert yard.new_ids(before) == {new}
    assert not yard.is_cancelled(new)
    assert [yard.is_cancelled(each) for each in before] == [True]

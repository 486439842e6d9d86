# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which delivery counts, by the forge's own time; and whose: strangers' pushes, labels and commands."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from functions.forge.app import make_work
from functions.forge.hooks import HookWork
from functions.forge.order import Order
from tests.hooks import (
    HEAD,
    PROJECT,
    Hook,
    forgejo_pull,
    github_comment,
    github_pull,
    github_push,
    github_rerun,
    gitlab_merge,
    tick,
)
from tests.integration.brokers import waiting
from tests.integration.functions.hook_yard import ADDRESS, OTHER, Yard, at
from testyard.adapters.amqp import HOOKS_LATER_QUEUE
from testyard.admission import Rates
from testyard.errors import NotSentError
from testyard.intake.delivery import Delivery
from testyard.intake.projects import ProjectFile
from testyard.intake.schema import bucket
from testyard.intake.statuses import Shown, of_commit

ONE_TEST = '[[test]]\narch = "amd64"\n'
LABELLED = '[[test]]\narch = "amd64"\nlabels = "needs-tests"\n'


def test_a_push_that_is_delivered_again_is_no_newer_one(yard: Yard) -> None:
    first, second = github_pull("opened"), github_pull("synchronize", head=OTHER)
    yard.deliver(second)
    new = yard.ids()
    yard.deliver(first, time=time.time() + 60)
    assert yard.audit()[0] == ("hook refused", "a newer push is being tested")
    assert yard.ids() == new
    assert not any(map(yard.is_cancelled, new))


@pytest.mark.parametrize("newest", [HEAD, OTHER])
def test_of_two_pushes_in_one_second_the_forge_knows_the_newer(yard: Yard, newest: str) -> None:
    now = tick()
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened", head=newest).payload["pull_request"])
    yard.deliver(github_pull("synchronize", head=OTHER, updated=now))
    first = yard.ids()
    yard.deliver(github_pull("synchronize", head=HEAD, updated=now))
    assert [yard.is_cancelled(each) for each in first] == [newest == HEAD]
    assert len(yard.new_ids(first)) == int(newest == HEAD)


def test_two_copies_at_two_pushes_leave_the_newer_ones_tests(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked for newer ones before either has asked for anything."""
    copies = [make_work(yard.settings, ProjectFile(yard.settings.intake.projects)) for _ in range(2)]
    hooks = [github_pull("synchronize", head="1" * 40), github_pull("synchronize", head="2" * 40)]
    both = threading.Barrier(2)
    take_over = Order.take_over

    def slowly(self: Order, *args: Any) -> None:
        take_over(self, *args)
        if not done.get(threading.get_ident()):
            done[threading.get_ident()] = True
            both.wait(20)

    done: dict[int, bool] = {}
    # the older one looks first, and finds nothing newer
    older_has_looked = threading.Event()

    def begin(work: HookWork, hook: Hook) -> None:
        if hook is hooks[1]:
            older_has_looked.wait(20)
        else:
            threading.Timer(0.5, older_has_looked.set).start()
        body = hook.body.decode()
        work.handle(Delivery("github", PROJECT, "pull_request", "id", ADDRESS, "", body).to_bytes())

    monkeypatch.setattr(Order, "take_over", slowly)
    threads = [threading.Thread(target=begin, args=(copies[n][0], hooks[n])) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for _, close in copies:
        close()
    assert yard.statuses("1" * 40).keys() == yard.statuses("2" * 40).keys() == {"noble/amd64"}
    under_way = [request.env for _, request in yard.sent() if not yard.is_cancelled(request.uuid or "")]
    assert ["UPSTREAM_COMMIT=" + "2" * 40 in env for env in under_way] == [True]


def test_what_a_push_asks_for_is_nothing_and_the_old_tests_end(yard: Yard) -> None:
    yard.file(ONE_TEST)
    yard.file("[[test]]\nbad = 1\n", OTHER)
    yard.deliver(github_pull("opened"), "")
    (old,) = yard.ids()
    yard.deliver(github_pull("synchronize", head=OTHER), "")
    assert "bad: is no key" in yard.statuses(OTHER)["testyard"][1]
    assert yard.is_cancelled(old)


def test_what_was_cancelled_just_now_is_no_answer(yard: Yard) -> None:
    """Before the status function has told the index of it."""
    yard.deliver(github_pull("opened"))
    (first,) = yard.ids()
    yard.deliver(github_pull("closed"), time=time.time() + 1)
    assert yard.is_cancelled(first)
    yard.deliver(github_pull("reopened"))
    (second,) = yard.new_ids({first})
    assert not yard.is_cancelled(second)
    yard.deliver(github_pull("synchronize", head=OTHER))
    yard.deliver(github_pull("synchronize"))  # back to where it was
    assert len(yard.ids()) == 4
    assert [action for action, _ in yard.audit()].count("request cancelled") == 3  # each once


def test_a_late_close_leaves_what_was_reopened(yard: Yard) -> None:
    closed = github_pull("closed")
    yard.deliver(github_pull("reopened"))
    yard.deliver(closed, time=time.time() + 60)
    assert yard.audit()[0] == ("hook refused", "a newer push is being tested")
    assert not any(map(yard.is_cancelled, yard.ids()))


def test_running_an_old_commit_again(yard: Yard) -> None:
    """It is superseded. And a push that is told of late is newer all the same."""
    yard.deliver(github_pull("opened"))
    (first,) = yard.ids()
    yard.ended(first, Shown.FAIL)
    push = github_pull("synchronize", head=OTHER)
    yard.deliver(github_rerun(external=first))
    (again,) = yard.new_ids({first})
    yard.deliver(push, time=time.time() - 60)
    assert yard.is_cancelled(again)
    (new,) = yard.new_ids({first, again})
    yard.ended(again, Shown.CANCELLED)
    yard.deliver(github_rerun(external=again), id="pressed")
    assert yard.new_ids({first, again, new}) == set()
    assert "refs/pull/2/head is at 1111111111 by now" in yard.statuses()["testyard"][1]


def test_a_suite_that_is_told_of_again_runs_once(yard: Yard) -> None:
    yard.deliver(github_pull("opened"))
    (first,) = yard.ids()
    yard.ended(first, Shown.FAIL)
    hook = github_rerun("check_suite")
    for number in range(3):
        yard.deliver(hook, id=f"id {number}")
        for each in yard.ids():
            yard.ended(each, Shown.FAIL)
    assert len(yard.ids()) == 2


def test_two_tests_of_one_place_are_shown_apart(yard: Yard) -> None:
    yard.file(
        '[[test]]\nname = "plain"\narch = "amd64"\n[[test]]\nname = "asan"\nenv = "SAN=1"\nlabels = "never"\n'
    )
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.deliver(github_pull("opened"), "")
    assert yard.statuses() == {"noble/amd64: plain": ("queued", "")}
    yard.deliver(github_comment("/test asan"), "")
    contexts = {"noble/amd64: plain", "noble/amd64: asan", "noble/arm64"}
    assert yard.statuses().keys() == contexts
    for each in yard.ids():
        yard.ended(each, Shown.FAIL)
    before = yard.ids()
    yard.deliver(github_comment("/retest"), "")
    assert len(yard.new_ids(before)) == 3
    assert yard.statuses() == dict.fromkeys(contexts, ("queued", ""))


def test_a_push_to_refs_for_is_a_strangers(yard: Yard) -> None:
    yard.file('[[test]]\nenv = ["THEIRS=1"]\n')
    yard.file('[[test]]\narch = "amd64"\nenv = ["OURS=1"]\n', "main")
    yard.deliver(forgejo_pull("opened", agit=True), "")
    ((_, request),) = yard.sent()
    assert "OURS=1" in request.env
    assert "THEIRS=1" not in request.env


def test_strangers_do_not_choose_the_file(yard: Yard) -> None:
    yard.file('[[test]]\nenv = ["OLD=1"]\n', "old")
    yard.file('[[test]]\narch = "amd64"\n', "main")
    yard.deliver(github_pull("opened", fork=True, base_ref="old"), "")
    ((_, request),) = yard.sent()
    assert "OLD=1" not in request.env


def test_a_label_is_for_the_push_that_was_looked_at(yard: Yard) -> None:
    yard.file(LABELLED, "main")
    yard.deliver(github_pull("labeled", fork=True), "")
    assert len(yard.ids()) == 1
    yard.deliver(github_pull("synchronize", fork=True, head=OTHER), "")
    assert len(yard.ids()) == 1
    yard.deliver(github_pull("labeled", fork=True, head=OTHER, label={"name": "documentation"}), "")
    assert len(yard.ids()) == 1
    assert yard.audit()[0] == ("hook taken", "nothing is tested for it")
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened", fork=True, head=OTHER).payload["pull_request"])
    yard.deliver(github_comment("/test"), "")
    assert len(yard.ids()) == 2


@pytest.mark.parametrize(
    ("first", "other", "ours"),
    [
        (
            github_pull("opened"),
            github_pull("labeled", label={"name": "documentation"}),
            github_pull("labeled"),
        ),
        (
            gitlab_merge("open"),
            gitlab_merge(
                "update",
                oldrev="",
                changes={"labels": {"previous": [{"title": "needs-tests"}], "current": [{"title": "x"}]}},
            ),
            gitlab_merge(
                "update",
                oldrev="",
                changes={"labels": {"previous": [], "current": [{"title": "needs-tests"}]}},
            ),
        ),
        (
            forgejo_pull("opened", labels=("needs-tests",)),
            forgejo_pull("label_updated", labels=("needs-tests", "x")),
            None,
        ),
    ],
    ids=["github", "gitlab", "forgejo"],
)
def test_another_label_asks_for_nothing(yard: Yard, first: Hook, other: Hook, ours: Hook | None) -> None:
    yard.file(LABELLED)
    yard.deliver(first, "")
    for each in yard.ids():
        yard.ended(each, Shown.FAIL)
    before = yard.ids()
    yard.deliver(other, "")
    assert yard.audit()[0] == ("hook taken", "nothing is tested for it")
    assert len(before) == 1
    if ours is not None:
        yard.deliver(ours, "")
        assert yard.audit()[0] == ("hook taken", "1 requests")


def test_forgejos_labels_are_compared_with_those_before(yard: Yard) -> None:
    yard.file(LABELLED, "main")
    yard.deliver(forgejo_pull("label_updated", fork=True), "")  # which were given is not known
    yard.deliver(forgejo_pull("label_updated", fork=True, labels=()), "")
    assert yard.ids() == set()
    hook = forgejo_pull("label_updated", fork=True, labels=("x", "needs-tests"))
    yard.forge.refuse(503)
    yard.deliver(hook, "")  # the file cannot be read
    assert yard.ids() == set()
    yard.pauses_end()
    yard.deliver(hook, "")
    assert len(yard.ids()) == 1


@pytest.mark.parametrize("text", ["/test buy-pills", "/retest", "/cancel"])
def test_a_strangers_words_are_nowhere_shown(yard: Yard, text: str) -> None:
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    before = len(yard.forge.calls)
    yard.deliver(github_comment(text, association="NONE", user="mallory"))
    action, reason = yard.audit()[0]
    assert (action, f"{at(yard.forge)}/mallory may not" in reason) == ("hook refused", True)
    assert yard.statuses() == {}
    assert len(yard.forge.calls) == before


def test_who_may_is_told_what_is_wrong_and_who_may_not_is_not(yard: Yard) -> None:
    """By policy they may request something, and this says of what."""
    assert yard.settings.intake.policy is not None
    yard.settings.intake.policy.write_text(
        f'[git]\ninternal = true\n[[rule]]\nwho = "{at(yard.forge)}/friend"\nmay = ["request", "force"]\n'
        f'[[rule]]\nwho = "{at(yard.forge)}/*"\nmay = ["request", "force"]\npackages = ["other"]\n'
    )
    work, close = make_work(yard.settings, ProjectFile(yard.settings.intake.projects))
    yard.work = work
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    for text in ("/test pills", "/test"):
        yard.deliver(github_comment(text, association="NONE", user="mallory"))
        assert yard.audit()[0][0] == "hook refused"
    assert yard.statuses() == {}
    yard.deliver(github_comment("/test nevr", association="NONE", user="friend"))
    assert "nothing is called nevr" in yard.statuses()["testyard"][1]
    close()


def test_a_rate_limit_is_waited_for_and_counted_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(identity_burst=2, identity_per_minute=0.1)
    intake = yard.settings.intake.model_copy(update={"rates": rates})
    work, close = make_work(yard.settings.model_copy(update={"intake": intake}), ProjectFile(intake.projects))
    yard.work = work
    hook = github_pull("opened")
    sender = work._hands.door._sender
    with monkeypatch.context() as away:
        away.setattr(
            type(sender), "send_all", lambda _, messages: [NotSentError("the broker is away")] * len(messages)
        )
        for _ in range(4):
            with pytest.raises(NotSentError):
                yard.deliver(hook)
    yard.deliver(hook)
    with yard.engine.connect() as connection:
        left = {row.key: row.left for row in connection.execute(select(bucket))}
    assert left[f"identity/hook/github/{PROJECT}"] == pytest.approx(1, abs=0.1)
    yard.deliver(github_pull("opened", number=3))
    yard.deliver(github_pull("opened", number=4, head=OTHER))
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 1
    assert yard.statuses(OTHER) == {}
    late = github_pull("opened", number=5, head="5" * 40)
    yard.deliver(late, time=time.time() - 7 * 3600)
    assert "too many requests" in yard.statuses("5" * 40)["testyard"][1]
    close()


def test_what_is_put_off_waits(yard: Yard) -> None:
    yard.deliver(github_pull("opened"), not_before=time.time() + 60)
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 1
    assert yard.ids() == set()


def test_pushes_of_any_name_and_without_a_file(yard: Yard) -> None:
    for ref in ("refs/tags/@scope/pkg@1.2.3", "refs/heads/fix(#12)", "refs/heads/größe"):
        yard.deliver(github_push(ref=ref), "")
        assert yard.audit()[0] == ("hook taken", "not relevant")
    yard.deliver(github_push(), "")
    assert yard.audit()[0] == ("hook taken", "nothing is tested for it")
    assert yard.statuses() == {}


def test_the_check_that_says_what_was_wrong_runs_again(yard: Yard) -> None:
    yard.file("[[test]]\nbad = 1\n")
    hook = github_pull("opened")
    yard.deliver(hook, "")
    with yard.engine.connect() as connection:
        (row,) = of_commit(connection, "github", PROJECT, HEAD)
    yard.file(ONE_TEST)
    yard.forge.pulls[PROJECT, 2] = dict(hook.payload["pull_request"])
    yard.deliver(github_rerun(external=row.request_id), "ignored=1")
    assert yard.statuses() == {"testyard": ("pass", ""), "noble/amd64": ("queued", "")}
    yard.deliver(replace(github_rerun(external=row.request_id)), id="once more")
    assert yard.audit()[0] == ("hook taken", "nothing is to run again")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries and their forges: limits that are kept to, who may give commands, whose commit it is."""

from __future__ import annotations

import time

import pytest

from tests.hooks import PROJECT, github_comment, github_pull
from tests.integration.brokers import channel_to, waiting
from tests.integration.functions.hook_yard import OTHER, QUEUE, QUEUES, Yard
from testyard.adapters.amqp import HOOKS_LATER_QUEUE, declare_topology
from testyard.intake.audit import deeds
from testyard.intake.delivery import Delivery
from testyard.intake.statuses import Shown


@pytest.mark.parametrize("limit", ["secondary", "primary"])
def test_a_forge_that_wants_to_be_left_alone_is(yard: Yard, limit: str) -> None:
    yard.file('[[test]]\nrelease = "noble"\narch = "amd64"\n')
    headers = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(int(time.time()) + 3000)}
    yard.forge.refuse(
        403, message=f"You have exceeded a {limit} rate limit.", **(headers if limit == "primary" else {})
    )
    before = len(yard.forge.calls)
    for _ in range(3):  # each time that it comes back
        yard.deliver(github_pull("opened"), "")
    assert len(yard.forge.calls) == before + 1, "neither is it asked, nor is anything given up"
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 3
    yard.pauses_end()
    yard.deliver(github_pull("opened"), "", time=time.time() - 3700)
    assert [queue for queue, _ in yard.sent()] == [str(QUEUE)]


def test_what_is_put_off_is_not_lost_if_its_queue_is(yard: Yard) -> None:
    with channel_to(yard.rabbit.url) as channel:
        channel.queue_delete(HOOKS_LATER_QUEUE)
    yard.forge.refuse(503)
    yard.deliver(github_pull("opened"), "")
    assert waiting(yard.rabbit, HOOKS_LATER_QUEUE) == 1
    with channel_to(yard.rabbit.url) as channel:
        declare_topology(channel, QUEUES)  # it is the same


def test_a_stranger_with_the_same_commit_changes_nothing_there(yard: Yard) -> None:
    yard.deliver(github_pull("opened", number=2))
    (request_id,) = yard.ids()
    yard.ended(request_id, Shown.FAIL)
    before = yard.statuses()
    yard.deliver(github_pull("opened", number=3, fork=True))
    yard.deliver(github_pull("opened", number=3, fork=True), "release=none")
    assert yard.statuses() == before
    yard.deliver(github_pull("opened", number=4, fork=True, head=OTHER))
    assert set(yard.statuses(OTHER)) == set(before), "on a commit of its own it is shown"


@pytest.mark.parametrize(
    ("association", "may"), [("MEMBER", False), ("COLLABORATOR", False), ("OWNER", True)]
)
def test_who_is_invited_to_read_gives_no_commands(yard: Yard, association: str, *, may: bool) -> None:
    yard.forge.pulls[PROJECT, 2] = dict(github_pull("opened").payload["pull_request"])
    yard.forge.permissions = {(PROJECT, "reader"): "read"}
    yard.deliver(github_comment("/test", association=association, user="reader"))
    assert bool(yard.sent()) == may
    assert ("reader may not" in yard.audit()[0][1]) == (not may)


def test_who_is_refused_often_does_not_fill_the_audit_log(yard: Yard) -> None:
    for number in range(130):
        refused = Delivery("github", "", "push", str(number), "", "192.0.2.9", refused="wrong signature")
        yard.work.handle(refused.to_bytes())
    with yard.engine.connect() as connection:
        assert len(deeds(connection, limit=200)) <= 101

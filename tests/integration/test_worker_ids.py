# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ids are the senders' to choose: none is taken for another's, and none tells of a private run."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

from tests.integration.yard import Yard, body_of
from tests.servers import Rabbit
from testyard.adapters.deadletters import dead_letters


def test_an_id_of_another_request_is_refused_and_nothing_is_lost(yard: Yard, broker_node: Rabbit) -> None:
    request_id = str(uuid.uuid4())
    yard.publish(body_of("ty-pass", uuid=request_id))
    other = body_of("ty-fail", uuid=request_id)
    yard.publish(other)
    worker = yard.worker()
    yard.wait(lambda: "parked" in yard.log, "the second one is parked")
    yard.wait(lambda: len(yard.completions()) == 1, "the first one's result")
    yard.drain(worker)
    assert [one.source for one in yard.results()] == ["ty-pass"]
    (letter,) = [one for one in dead_letters(broker_node.url) if one.queue == str(yard.queue)]
    assert letter.body == other
    assert letter.reason == f"uuid: {request_id} is the id of another request in this queue"
    assert yard.events("rejected") == []  # it would be told of the first one


def test_a_private_runs_id_tells_nothing_of_it(yard: Yard) -> None:
    request_id = str(uuid.uuid4())
    yard.publish(body_of("ty-pass", uuid=request_id, swiftuser="reader"))
    yard.publish(body_of("ty-pass", uuid=request_id))
    worker = yard.worker()
    yard.wait(lambda: "parked" in yard.log and yard.events("stored"), "both are settled", seconds=60)
    yard.drain(worker)
    told = json.dumps([json.loads(body) for body in yard.heard("testyard.events")])
    assert "private-autopkgtest" not in told
    assert "ty-pass" not in told
    assert yard.completions() == []
    assert "ty-pass" not in yard.log


def test_an_error_of_the_workers_own_is_nobodys_death(yard: Yard, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    yard.settings["worker"].update(package_lists=str(lists), deaths=1)
    yard.publish(body_of("ty-pass"))
    worker = yard.worker()
    yard.wait(lambda: "request goes back" in yard.log, "the folder is missed")
    lists.mkdir()
    yard.wait(lambda: len(yard.completions()) == 1, "it runs when the folder is there", seconds=60)
    yard.drain(worker)
    assert [one.exit_code for one in yard.results()] == [0]
    shutil.rmtree(lists)

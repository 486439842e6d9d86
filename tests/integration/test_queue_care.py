# SPDX-License-Identifier: AGPL-3.0-or-later
"""What waits is listed, removed and sent back while workers go on; nothing that was not meant goes."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine, func, select

from functions.index.tidying import Tidier
from tests.integration.caring import cli, queued, states
from tests.integration.spectators import Stage
from tests.integration.yard import Yard
from tests.servers import Rabbit
from testyard.adapters.amqp import Publisher
from testyard.adapters.deadletters import dead_letters
from testyard.adapters.swift import SwiftStore
from testyard.arrival import body_digest
from testyard.index.schema import arrival
from testyard.intake.audit import Action, deeds
from testyard.removal import Removal, all_removals, leave_removal
from testyard.request import new_request_id
from testyard.settings import Settings
from testyard.store import CLAIMS
from worker.claim import ClaimBook

EQUAL = b'ty-pass\n{"triggers": ["ty-pass/1"]}'


def notes_of(store: SwiftStore) -> set[str]:
    """The queues that have notes of removals; other tests use the store, too."""
    return {str(note.queue) for note in all_removals(store)}


def unexplained(engine: Engine) -> object:
    with engine.connect() as connection:
        return connection.execute(
            select(func.count()).select_from(arrival).where(arrival.c.became.is_(None))
        ).scalar()


def test_one_of_equal_bodies_is_removed_and_no_later_one(yard: Yard, engine: Engine) -> None:
    for _ in range(3):
        yard.publish(EQUAL)
    yard.wait(lambda: len(queued(engine)) == 3, "all are known")
    gone = queued(engine)[1]
    assert "Nothing that is known waits" in cli(yard, "queue", "list", "ty-[a-o]*")
    shown = cli(yard, "queue", "remove", gone[:8], "--reason", "not needed")
    assert gone in shown
    assert "1 removed." in shown
    assert yard.waiting() == 3  # it goes when its turn comes
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 2 and yard.waiting() == 0, "two have run", seconds=90)
    yard.wait(lambda: sorted(states(engine).values()) == ["cancelled", "done", "done"], "one is cancelled")
    assert states(engine)[gone] == "cancelled"
    yard.wait(lambda: str(yard.queue) not in notes_of(yard.store), "the note is used up")
    yard.publish(EQUAL)
    yard.wait(lambda: len(yard.results()) == 3, "a later equal one runs", seconds=90)
    with engine.connect() as connection:
        (found,) = [deed for _, deed in deeds(connection, actions=[Action.CANCELLED])]
        assert (found.owner, found.request_id) == ("operator/jane", gone)
    yard.wait(lambda: unexplained(engine) == 0, "what became of each arrival is known")


def test_what_waits_in_vain_is_ended_by_hand_and_by_itself(yard: Yard, stage: Stage, engine: Engine) -> None:
    for body in (EQUAL, EQUAL, b'ty-pass\n{"triggers": ["ty-pass/2"]}'):
        yard.publish(body)
    yard.wait(lambda: len(queued(engine)) == 3, "all are known")
    first, second, _ = queued(engine)
    found = json.loads(cli(yard, "queue", "tidy", "--dry-run", "--json"))["useless"]
    assert [row["request_id"] for row in found] == [second]
    assert found[0]["reason"] == f"the same waits already: {first}"
    assert len(queued(engine)) == 3
    assert "1 removed." in cli(yard, "queue", "tidy")
    yard.wait(lambda: len(queued(engine)) == 2, "it is cancelled")
    yard.publish(EQUAL)
    yard.wait(lambda: len(queued(engine)) == 3, "there is one more")
    third = queued(engine)[2]
    settings = Settings.model_validate({key: yard.settings[key] for key in ("broker", "store", "database")})
    tidier = Tidier(settings, engine, yard.store)
    assert tidier.tidy() == 1
    yard.wait(lambda: states(engine)[third] == "cancelled", "it is cancelled, too")
    assert tidier.tidy() == 0
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 2 and yard.waiting() == 0, "one of each has run")
    yard.wait(lambda: sorted(states(engine).values()) == ["cancelled"] * 2 + ["done"] * 2, "that is all")


def test_a_note_that_came_too_late_takes_no_later_message(yard: Yard) -> None:
    digest = body_digest(EQUAL)
    yard.publish(EQUAL)
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 1, "it has run")
    # whoever wrote this had seen one wait, and no claim
    leave_removal(yard.store, Removal(str(yard.queue), digest, new_request_id(), "late", (), 1))
    yard.publish(EQUAL)
    yard.wait(lambda: len(yard.results()) == 2, "the later one runs")
    assert yard.events("cancelled") == []


@pytest.mark.parametrize("claimed", [False, True])
def test_a_removed_message_that_comes_again(yard: Yard, claimed: bool) -> None:
    """Its worker was stopped, or had died between its claim and the note's end. Another one runs."""
    digest, request_id = body_digest(EQUAL), new_request_id()
    leave_removal(yard.store, Removal(str(yard.queue), digest, request_id, "not needed", (), 1))
    if claimed:
        book = ClaimBook(yard.store, "worker-2", 3)
        book.remove(f"{yard.queue}/body/{digest}/{request_id}", request_id, digest)
    yard.redeliver(EQUAL)
    worker = yard.worker()
    yard.wait(lambda: yard.events("cancelled"), "it is passed over")
    assert yard.events("cancelled")[0]["request_id"] == request_id
    yard.drain(worker)
    assert yard.store.get(CLAIMS, f"removed/{yard.queue}/{digest}/{request_id}") is None
    yard.redeliver(EQUAL)
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 1, "another that comes again runs")


def test_dead_letters_go_back_and_others_stay(broker_node: Rabbit, yard: Yard, engine: Engine) -> None:
    bodies = [b"ty-pass\n[]", b"../x", b"ty-pass\n{}"]
    with Publisher(broker_node.url) as publisher:
        for number, body in enumerate(bodies):
            publisher.park(body, queue=str(yard.queue), reason=f"reason {number}")
    before = dead_letters(broker_node.url)
    assert "reason 2" in cli(yard, "queue", "requeue", "reason 2", "--dry-run")
    assert [letter.body for letter in dead_letters(broker_node.url)] == [letter.body for letter in before]
    assert "1 sent back." in cli(yard, "queue", "requeue", "reason 2")
    assert [letter.body for letter in dead_letters(broker_node.url)] == [letter.body for letter in before[:2]]
    assert yard.waiting() == 1
    yard.wait(lambda: queued(engine), "it is known")
    (shown,) = json.loads(cli(yard, "queue", "list", "--json"))["requests"]
    assert shown["package"] == "ty-pass"
    yard.worker()
    yard.wait(lambda: len(yard.results()) == 1, "it runs")
    yard.wait(lambda: states(engine) == {shown["request_id"]: "done"}, "it is done")
    cli(yard, "queue", "requeue", "nothing fits")
    assert len(dead_letters(broker_node.url)) == 2

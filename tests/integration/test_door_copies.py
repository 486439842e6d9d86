# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several copies of a door, brokers that die, and what is left to be sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.conftest import NewIndex
from tests.integration.brokers import NOBLE, QUEUES, channel_to, waiting
from tests.integration.doors import JANE, JOHN, NOWHERE, Place, ids, wish
from tests.integration.test_door import all_at_once
from tests.servers import Rabbit, rabbit_node
from testyard.adapters.amqp import declare_topology
from testyard.errors import BrokerError, NotSentError
from testyard.event import Event, EventKind
from testyard.intake.audit import Action
from testyard.intake.known import UNSEEN, Standing
from testyard.intake.left import GIVE_UP, LEFT, PAUSE, REMEMBER
from testyard.intake.schema import asked
from testyard.intake.sender import BrokerSender, Message
from testyard.intake.submit import Accepted
from testyard.queue import QueueName
from testyard.request import new_request_id


class Flaky:
    """A sender whose broker goes away after so many messages."""

    def __init__(self, inner: BrokerSender, rabbit: Rabbit, after: int) -> None:
        self._inner, self._rabbit, self._after = inner, rabbit, after

    def send_all(self, messages: Sequence[Message]) -> list[BrokerError | None]:
        sent = self._inner.send_all(messages[: self._after])
        self._rabbit.kill()
        return [*sent, *self._inner.send_all(messages[self._after :])]

    def tell_all(self, events: Sequence[Event]) -> None:
        self._inner.tell_all(events)


@pytest.fixture
def own_place(tmp_path: Any, new_index: NewIndex) -> Iterator[Place]:
    """With a broker that may be killed."""
    with rabbit_node(tmp_path / "state") as node, ExitStack() as stack:
        with channel_to(node.url) as channel:
            declare_topology(channel, QUEUES)
        yield Place(node, new_index(), stack)


def test_a_broker_that_dies(own_place: Place) -> None:
    place, wishes = own_place, [wish(f"package{number}") for number in range(10)]
    door = place.door(Flaky(place.sender(), place.rabbit, after=4))
    answers = door.submit(wishes, JANE)  # between two messages
    assert [answer.standing for answer in answers] == [Standing.ACCEPTED] * 10
    first = {request_id for request_id, sent in place.kept().items() if sent}
    assert len(first) == 4
    other = place.door()
    with pytest.raises(NotSentError):  # before the first
        other.submit([wish("late"), wish("later")], JANE)
    assert sorted(place.kept()) == sorted(ids(answers))
    assert place.actions() == {Action.ACCEPTED: 12, Action.REFUSED: 2}
    with pytest.raises(NotSentError):
        other.send_left()
    place.rabbit.start()
    time.sleep(1.1)  # the sender's pause after a failure
    left = all_at_once(3, lambda _: tuple([None] * place.door().send_left()))  # type: ignore[arg-type]
    assert len(left) == 6
    assert sorted(map(str, place.in_queue())) == sorted(ids(answers))
    # nobody could be told of the first ones: their workers will
    assert {event.request_id for event in place.events()} == set(ids(answers)) - first
    assert all(place.kept().values())


class Deaf:
    """A sender of which nobody knows whether its messages arrive, or that is killed before it sends."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def send_all(self, messages: Sequence[Message]) -> list[BrokerError | None]:
        if not issubclass(self._error, BrokerError):
            raise self._error
        return [self._error("gone") for _ in messages]

    def tell_all(self, events: Sequence[Event]) -> None:
        assert not events


def test_what_another_copy_accepted_and_has_not_sent_is_sent_by_who_is_told_of_it(place: Place) -> None:
    with suppress(KeyboardInterrupt):
        place.door(Deaf(KeyboardInterrupt)).submit([wish()], JANE)
    (first,) = place.kept()
    # from now on nobody takes it back, so it will be sent
    (answer,) = place.door(Deaf(NotSentError)).submit([wish()], JOHN)
    assert (answer.standing, answer.request_id) == (Standing.QUEUED, first)
    assert place.kept() == {first: False}
    (answer,) = place.door().submit([wish()], JOHN)
    assert (answer.standing, answer.request_id) == (Standing.QUEUED, first)
    assert place.in_queue() == [first]
    assert place.kept() == {first: True}


def test_what_may_have_arrived_is_accepted(place: Place) -> None:
    (answer,) = place.door(Deaf(BrokerError)).submit([wish()], JANE)
    assert answer.standing is Standing.ACCEPTED
    assert place.door().send_left() == 0  # too young: its confirm may be on its way
    place.age(LEFT + 1)
    assert place.door().send_left() == 1
    assert place.in_queue() == [answer.request_id]


def test_one_queue_that_is_not_there_stops_no_other(place: Place) -> None:
    place.door().submit([wish(queue=NOWHERE), wish()], JANE)
    assert sorted(place.kept().values()) == [False, True]
    place.door(Deaf(BrokerError)).submit([wish("bzip2")], JANE)
    place.age(PAUSE + 1)
    with pytest.raises(NotSentError, match="sparc"):
        place.door().send_left()
    assert sorted(place.kept().values()) == [False, True, True]
    with pytest.raises(NotSentError, match="sparc"):
        place.door().submit([wish("xz", queue=NOWHERE)], JANE)
    assert len(place.kept()) == 3


def test_what_is_old_is_forgotten_once_it_is_sent(place: Place) -> None:
    door = place.door()
    door.submit([wish()], JANE)
    place.age(REMEMBER - 60)
    place.door(Deaf(BrokerError)).submit([wish("bzip2")], JANE)
    door.send_left()
    assert len(place.kept()) == 2
    place.age(120)
    door.send_left()
    assert list(place.kept().values()) == [True]
    assert waiting(place.rabbit, str(NOBLE)) == 2


class Meanwhile:
    """A sender during whose sending something else happens; without an inner one it sends nothing."""

    def __init__(self, happens: Callable[[], Any], inner: BrokerSender | None = None) -> None:
        self._happens, self._inner = happens, inner

    def send_all(self, messages: Sequence[Message]) -> list[BrokerError | None]:
        found = self._inner.send_all(messages) if self._inner else [NotSentError("away") for _ in messages]
        self._happens()
        return found

    def tell_all(self, events: Sequence[Event]) -> None:
        if self._inner:
            self._inner.tell_all(events)


def test_nobody_takes_back_what_another_copy_sends(place: Place) -> None:
    sending = threading.Event()
    ready = threading.Event()

    def other_begins() -> None:
        place.age(LEFT + 1)
        worker.start()
        assert sending.wait(20)

    def other_waits() -> None:
        sending.set()
        assert ready.wait(20)

    # the other copy has sent it, and has not noted that when the first one learns that it could not
    other = place.door(Meanwhile(other_waits, place.sender()))
    worker = threading.Thread(target=other.send_left)
    (answer,) = place.door(Meanwhile(other_begins)).submit([wish()], JANE)
    ready.set()
    worker.join(20)
    assert answer.standing is Standing.ACCEPTED
    assert place.in_queue() == [answer.request_id]
    assert place.kept() == {answer.request_id: True}


def test_nobody_takes_back_what_another_caller_was_told_of(place: Place) -> None:
    told: list[Accepted] = []

    def john_asks() -> None:
        told.extend(place.door(Deaf(BrokerError)).submit([wish()], JOHN))

    (answer,) = place.door(Meanwhile(john_asks)).submit([wish()], JANE)
    assert [each.request_id for each in told] == [answer.request_id]
    assert place.kept() == {answer.request_id: False}


def test_what_was_sent_is_accepted_though_that_cannot_be_noted(place: Place) -> None:
    def rename(old: str, new: str) -> None:
        with place.memory.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    gone = Meanwhile(lambda: rename("intake_asked", "elsewhere"), place.sender())
    (answer,) = place.door(gone).submit([wish()], JANE)
    rename("elsewhere", "intake_asked")
    assert answer.standing is Standing.ACCEPTED
    assert place.kept() == {answer.request_id: False}
    place.age(LEFT + 1)
    assert place.door().send_left() == 1
    assert place.in_queue() == [answer.request_id] * 2  # its worker finds the claim of the first


def left_for(place: Place, queue: QueueName, count: int, *, age: float) -> list[str]:
    """Requests that were accepted so long ago, and not sent."""
    rows = [
        {
            "request_id": new_request_id(), "queue": str(queue), "package": "gzip", "fingerprint": "x",
            "owner": JANE.owner, "body": b'gzip\n{"triggers": ["gzip/1.12-1"]}', "created": time.time() - age,
        }
        for _ in range(count)
    ]  # fmt: skip
    with place.memory.begin() as connection:
        connection.execute(asked.insert(), rows)
    return [str(row["request_id"]) for row in rows]


def test_what_cannot_be_sent_stands_in_nobodys_way(place: Place) -> None:
    left_for(place, NOWHERE, 600, age=3600)
    (good,) = left_for(place, NOBLE, 1, age=60)
    with pytest.raises(NotSentError, match="sparc"):
        place.door().send_left()
    assert place.kept()[good]
    assert waiting(place.rabbit, str(NOBLE)) == 1
    assert place.door().send_left() == 0  # the others are not tried again at once
    place.age(PAUSE + 1)
    with pytest.raises(NotSentError, match="sparc"):
        place.door().send_left()


def test_what_no_queue_takes_for_days_is_given_up_aloud(place: Place) -> None:
    (old,) = left_for(place, NOWHERE, 1, age=GIVE_UP + 60)
    (young,) = left_for(place, NOWHERE, 1, age=GIVE_UP - 60)
    with pytest.raises(NotSentError):
        place.door(Deaf(NotSentError)).send_left()  # as long as the broker is away nothing is
    assert place.kept() == {old: False, young: False}
    with pytest.raises(NotSentError, match="sparc"):
        place.door().send_left()
    assert place.kept() == {old: True, young: False}
    *_, end = [event for event in place.events() if event.request_id == old]
    assert (end.kind, end.data["reason"]) == (EventKind.CANCELLED, "its queue did not take it for 7 days")
    assert place.actions() == {Action.REFUSED: 1}


def test_what_waits_for_hours_to_be_sent_is_known_all_the_same(place: Place) -> None:
    (left,) = place.door(Deaf(BrokerError)).submit([wish()], JANE)
    place.age(UNSEEN + 3600)  # the broker was away
    (again,) = place.door().submit([wish()], JANE)
    assert (again.request_id, again.standing) == (left.request_id, Standing.QUEUED)
    place.door().send_left()
    assert set(place.in_queue()) == {left.request_id}

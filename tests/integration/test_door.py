# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door, with a real RabbitMQ, on each database: all of a call or none, each request once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.conftest import NewIndex
from tests.integration.brokers import NOBLE, QUEUES, channel_to, waiting
from tests.servers import Rabbit, rabbit_node
from testyard.adapters.amqp import STATUS_QUEUE, declare_topology
from testyard.errors import BrokerError, NotSentError, RequestError
from testyard.event import Event, EventKind
from testyard.index import create_tables, index_engine
from testyard.index.write import apply_event
from testyard.intake import Identity, create_intake
from testyard.intake.audit import Action, deeds
from testyard.intake.known import Standing
from testyard.intake.left import GIVE_UP, LEFT, PAUSE, REMEMBER
from testyard.intake.schema import asked
from testyard.intake.sender import BrokerSender, Message
from testyard.intake.submit import Accepted, Door, Wish
from testyard.queue import QueueName
from testyard.request import new_request_id, parse_body

JANE, JOHN = Identity("github/jane", "jane"), Identity("github/john", "john")
ARM = QueueName("ubuntu", "noble", "arm64")
NOWHERE = QueueName("ubuntu", "noble", "sparc")


@dataclass
class Place:
    """A broker, and a database of its own."""

    rabbit: Rabbit
    url: str
    stack: ExitStack

    def __post_init__(self) -> None:
        self.memory = index_engine(self.url, writer=True)
        self.index = index_engine(self.url)
        create_tables(self.memory)
        create_intake(self.memory)
        for engine in (self.memory, self.index):
            self.stack.callback(engine.dispose)

    def sender(self) -> BrokerSender:
        made = BrokerSender(self.rabbit.url)
        self.stack.callback(made.close)
        return made

    def door(self, sender: Any = None) -> Door:
        """As another copy of the function has it."""
        memory, index = index_engine(self.url, writer=True), index_engine(self.url)
        self.stack.callback(memory.dispose)
        self.stack.callback(index.dispose)
        return Door(memory, index, sender or self.sender())

    def in_queue(self, queue: QueueName = NOBLE) -> list[str | None]:
        """The ids of all messages, taken out."""
        found = []
        with channel_to(self.rabbit.url) as channel:
            while True:
                method, properties, body = channel.basic_get(str(queue), auto_ack=True)
                if method is None or properties is None or body is None:
                    return found
                assert parse_body(body).uuid == properties.message_id
                found.append(properties.message_id)

    def events(self) -> list[Event]:
        with channel_to(self.rabbit.url) as channel:
            found = []
            while (body := channel.basic_get(STATUS_QUEUE, auto_ack=True)[2]) is not None:
                found.append(Event.from_bytes(body))
            return found

    def kept(self) -> dict[str, bool]:
        """The requests that are remembered, and whether they are marked as sent."""
        with self.memory.connect() as connection:
            rows = connection.execute(select(asked.c.request_id, asked.c.sent))
            return {row[0]: row[1] is not None for row in rows}

    def age(self, seconds: float) -> None:
        with self.memory.begin() as connection:
            connection.execute(update(asked).values(created=asked.c.created - seconds))
            connection.execute(update(asked).values(sent=asked.c.sent - seconds))
            connection.execute(update(asked).values(next_attempt=asked.c.next_attempt - seconds))

    def actions(self) -> Counter[Action]:
        with self.memory.connect() as connection:
            return Counter(deed.action for _, deed in deeds(connection, limit=10_000))

    def tell(self, kind: EventKind, request_id: str, **data: Any) -> None:
        with self.memory.begin() as connection:
            apply_event(connection, Event(kind, request_id, str(NOBLE), "gzip", data=data))


@pytest.fixture
def place(broker: Rabbit, new_index: NewIndex) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(broker, new_index(), stack)


def wish(package: str = "gzip", queue: QueueName = NOBLE, *, force: bool = False, **asks: Any) -> Wish:
    request_id = asks.pop("request_id", "")
    parameters = {
        "triggers": ["gzip/1.12-1"],
        **{key.replace("_", "-"): value for key, value in asks.items()},
    }
    return Wish(queue, package, parameters, force=force, request_id=request_id)


def ids(answers: Sequence[Accepted]) -> list[str]:
    return [answer.request_id for answer in answers]


def test_what_is_accepted_is_sent_told_of_and_recorded(place: Place) -> None:
    answers = place.door().submit([wish(), wish(queue=ARM)], JANE, address="192.0.2.1")
    assert [answer.standing for answer in answers] == [Standing.ACCEPTED] * 2
    assert place.in_queue() == ids(answers)[:1]
    assert place.in_queue(ARM) == ids(answers)[1:]
    assert {event.request_id: event.kind for event in place.events()} == dict.fromkeys(
        ids(answers), EventKind.ACCEPTED
    )
    assert place.kept() == dict.fromkeys(ids(answers), True)
    with place.memory.connect() as connection:
        (_, deed), _ = deeds(connection)
    assert (deed.action, deed.owner, deed.address) == (Action.ACCEPTED, "github/jane", "192.0.2.1")
    assert deed.details["package"] == "gzip"
    assert deed.details["parameters"]["requester"] == "jane"


def test_a_private_one_is_told_of_and_recorded_bare(place: Place) -> None:
    secret = wish("hush", ppas=["user:hunter22@jane/hush"], swiftuser="jane", env=["A=whisper"])
    (answer,) = place.door().submit([secret], JANE)
    (event,) = place.events()
    with place.memory.connect() as connection:
        ((_, deed),) = deeds(connection)
    for shown in (event.to_bytes().decode(), json.dumps(dict(deed.details))):
        assert not any(word in shown for word in ("hush", "hunter22", "whisper", "jane"))
    assert place.in_queue() == [answer.request_id]


def test_all_or_none(place: Place) -> None:
    with pytest.raises(RequestError) as caught:
        place.door().submit([wish(), wish(triggers=["no version"])], JANE)
    assert caught.value.field == "requests[1].triggers"
    assert (place.in_queue(), place.kept(), place.actions()) == ([], {}, {})


def test_what_no_worker_could_read_is_refused(place: Place) -> None:
    with pytest.raises(RequestError, match="surrogate"):
        place.door().submit([wish(env=["A=\ud800"])], JANE)
    with pytest.raises(RequestError, match="at most"):
        place.door().submit([wish(env=["A=" + "x" * 4000] * 100)], JANE)
    assert (place.in_queue(), place.kept()) == ([], {})


def test_the_same_again_is_known(place: Place) -> None:
    door = place.door()
    (first,) = door.submit([wish()], JANE)
    (again,) = door.submit([wish()], JOHN)
    assert (again.standing, again.request_id) == (Standing.QUEUED, first.request_id)
    place.tell(EventKind.TAKEN, first.request_id, worker="w")
    (again,) = door.submit([wish()], JOHN)
    assert (again.standing, again.request_id) == (Standing.RUNNING, first.request_id)
    place.tell(EventKind.STORED, first.request_id)
    (anew,) = door.submit([wish()], JOHN)
    assert (anew.standing, anew.request_id != first.request_id) == (Standing.ACCEPTED, True)
    assert place.in_queue() == [first.request_id, anew.request_id]
    assert place.actions() == {Action.ACCEPTED: 2, Action.FOUND: 2}


def test_what_came_straight_to_the_broker_is_known(place: Place) -> None:
    request_id = new_request_id()
    place.tell(EventKind.ACCEPTED, request_id, parameters={"triggers": ["gzip/1.12-1"]})
    answers = place.door().submit([wish(), wish(triggers=["gzip/1.13-1"])], JANE)
    assert [answer.standing for answer in answers] == [Standing.QUEUED, Standing.ACCEPTED]
    assert answers[0].request_id == request_id


def test_a_private_one_is_known_to_its_owner_only(place: Place) -> None:
    door, secret = place.door(), wish(readable_by=["jane"])
    (first,) = door.submit([secret], JANE)
    (hers,) = door.submit([secret], JANE)
    (his,) = door.submit([secret], JOHN)
    assert hers.request_id == first.request_id
    assert (his.standing, his.request_id != first.request_id) == (Standing.ACCEPTED, True)


def test_equal_ones_in_a_call(place: Place) -> None:
    answers = place.door().submit([wish(), wish(), wish("bzip2"), wish()], JANE)
    assert [str(answer.standing) for answer in answers] == [
        "accepted", "already queued", "accepted", "already queued",
    ]  # fmt: skip
    assert len(set(ids(answers))) == 2
    assert sorted(map(str, place.in_queue())) == sorted({*ids(answers)})
    forced = place.door().submit([wish(force=True), wish(force=True)], JANE)
    assert [answer.standing for answer in forced] == [Standing.ACCEPTED] * 2
    assert len({*ids(forced), *ids(answers)}) == 4


def test_the_same_wish_told_twice(place: Place) -> None:
    request_id = new_request_id()
    told = wish(request_id=request_id, force=True)
    (first,) = place.door().submit([told], JANE)
    again = place.door().submit([told, told], JANE)
    assert ids([first, *again]) == [request_id] * 3
    assert [answer.standing for answer in again] == [Standing.QUEUED] * 2
    assert place.in_queue() == [request_id]


def all_at_once(count: int, work: Callable[[int], tuple[Accepted, ...]]) -> list[Accepted]:
    gate = threading.Barrier(count)

    def one(number: int) -> tuple[Accepted, ...]:
        gate.wait(20)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [answer for answers in pool.map(one, range(count)) for answer in answers]


def test_of_many_that_ask_for_the_same_at_once_one_makes_it(place: Place) -> None:
    doors = [place.door() for _ in range(4)]
    wishes = [wish(f"package{number}") for number in range(20)]
    answers = all_at_once(8, lambda number: doors[number % 4].submit(wishes[:: 1 - 2 * (number % 2)], JANE))
    assert len(answers) == 160
    assert len(set(ids(answers))) == 20
    assert Counter(answer.standing for answer in answers)[Standing.ACCEPTED] == 20
    assert sorted(set(map(str, place.in_queue()))) == sorted(set(ids(answers)))


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

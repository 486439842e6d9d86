# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door, with a real RabbitMQ, on each database: all of a call or none, each request once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.doors import ARM, JANE, JOHN, Place, ids, wish
from testyard.errors import RequestError
from testyard.event import EventKind
from testyard.intake.audit import Action, deeds
from testyard.intake.known import Standing
from testyard.intake.submit import Accepted
from testyard.request import new_request_id


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

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Idempotency-Keys on each database: who has lost a key does nothing with it any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, update

from tests.conftest import NewIndex
from testyard.errors import ConflictError, NotSentError
from testyard.index import create_tables, index_engine
from testyard.intake import Identity, answers, create_intake
from testyard.intake.answers import Ticket
from testyard.intake.known import Standing
from testyard.intake.schema import answered
from testyard.intake.submit import Accepted, Door, Wish
from testyard.queue import QueueName

JANE = Identity("github/jane", "jane")
ANSWER = {"requests": []}


class Sent:
    """A sender that takes everything, or nothing."""

    def __init__(self, *, away: bool = False) -> None:
        self.ids: list[str] = []
        self._away = away

    def send_all(self, messages):  # type: ignore[no-untyped-def]
        if self._away:
            return [NotSentError("away") for _ in messages]
        self.ids += [message.request_id for message in messages]
        return [None for _ in messages]

    def tell_all(self, events: object) -> None:
        pass


@pytest.fixture
def memory(new_index: NewIndex) -> Iterator[Engine]:
    engine = index_engine(new_index(), writer=True)
    create_tables(engine)
    create_intake(engine)
    yield engine
    engine.dispose()


def begin(memory: Engine) -> Ticket:
    return answers.begin(memory, JANE.owner, "key", "digest")


def lose(memory: Engine) -> None:
    """As if whoever has the key had stood still for minutes."""
    with memory.begin() as connection:
        connection.execute(update(answered).values(answer={"begun": 0}))


def submit(memory: Engine, sender: Sent, ticket: Ticket) -> tuple[Accepted, ...]:
    queue = QueueName("ubuntu", "noble", "amd64")
    wish = Wish(queue, "gzip", {"triggers": ["gzip/1"]}, force=True, request_id=ticket.request_id(0))
    return Door(memory, memory, sender).submit([wish], JANE, ticket=ticket)


def test_the_answer_is_kept(memory: Engine) -> None:
    answers.finish(memory, begin(memory), ANSWER)
    assert begin(memory).answer == ANSWER


def test_a_key_given_back_is_free(memory: Engine) -> None:
    first = begin(memory)
    answers.give_back(memory, first)
    assert begin(memory).request_id(0) != first.request_id(0)


def test_who_lost_a_key_neither_answers_nor_gives_it_back(memory: Engine) -> None:
    slow = begin(memory)
    lose(memory)
    second = begin(memory)
    assert second.request_id(0) == slow.request_id(0)
    answers.finish(memory, slow, {"requests": ["wrong"]})
    answers.give_back(memory, slow)
    lose(memory)
    third = begin(memory)
    assert (third.answer, third.request_id(0)) == (None, slow.request_id(0))
    answers.finish(memory, third, ANSWER)
    answers.give_back(memory, second)
    assert begin(memory).answer == ANSWER


def test_who_lost_a_key_accepts_nothing(memory: Engine) -> None:
    sender, slow = Sent(), begin(memory)
    lose(memory)
    second = begin(memory)
    answers.give_back(memory, second)  # it was refused; from now on the key makes other ids
    with pytest.raises(ConflictError, match="has taken over"):
        submit(memory, sender, slow)
    (accepted,) = submit(memory, sender, begin(memory))
    assert sender.ids == [accepted.request_id]


def test_who_accepts_has_the_key_for_a_while_more(memory: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PATIENCE", 0.0)
    first = begin(memory)
    lose(memory)
    submit(memory, Sent(), first)
    with pytest.raises(ConflictError, match="is being worked on"):
        begin(memory)


def test_who_takes_over_what_was_accepted_does_not_accept_it_again(memory: Engine) -> None:
    sender, slow = Sent(), begin(memory)
    submit(memory, sender, slow)
    lose(memory)
    (found,) = submit(memory, sender, begin(memory))
    assert (found.standing, sender.ids) == (Standing.QUEUED, [slow.request_id(0)])


def test_an_answer_that_cannot_be_kept_is_an_answer(memory: Engine) -> None:
    ticket = begin(memory)
    with memory.begin() as connection:
        answered.drop(connection)
    answers.finish(memory, ticket, ANSWER)

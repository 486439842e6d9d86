# SPDX-License-Identifier: AGPL-3.0-or-later
"""A door on a broker and a database of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from tests.integration.brokers import NOBLE, channel_to
from tests.servers import Rabbit
from testyard.adapters.amqp import STATUS_QUEUE
from testyard.arrival import TRACE_EXCHANGE
from testyard.event import Event, EventKind
from testyard.index import create_tables, index_engine
from testyard.index.write import apply_event
from testyard.intake import Identity, create_intake
from testyard.intake.audit import Action, deeds
from testyard.intake.schema import asked
from testyard.intake.sender import BrokerSender
from testyard.intake.submit import Accepted, Door, Wish
from testyard.queue import QueueName
from testyard.request import parse_body

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
            while (got := channel.basic_get(STATUS_QUEUE, auto_ack=True))[0] is not None:
                if got[0].exchange != TRACE_EXCHANGE:  # what others had the broker copy there
                    found.append(Event.from_bytes(got[2]))
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


def wish(package: str = "gzip", queue: QueueName = NOBLE, *, force: bool = False, **asks: Any) -> Wish:
    request_id = asks.pop("request_id", "")
    parameters = {
        "triggers": ["gzip/1.12-1"],
        **{key.replace("_", "-"): value for key, value in asks.items()},
    }
    return Wish(queue, package, parameters, force=force, request_id=request_id)


def ids(answers: Sequence[Accepted]) -> list[str]:
    return [answer.request_id for answer in answers]

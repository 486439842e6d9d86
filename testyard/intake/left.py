# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was accepted and is not sent yet: taken back, marked as sent, or sent by whichever copy looks next."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, select, tuple_, update

from testyard.errors import BrokerError, RequestError
from testyard.index import index_errors
from testyard.index.engine import insert_for
from testyard.intake import audit
from testyard.intake.audit import Action, Deed
from testyard.intake.identity import Identity
from testyard.intake.known import chunks
from testyard.intake.schema import asked, fact
from testyard.intake.sender import Message, Sender, accepted_event
from testyard.queue import QueueName

log = logging.getLogger(__name__)

#: Seconds after which what was accepted and is not sent is another copy's to send.
LEFT = 10.0
#: Seconds for which what was sent is remembered, to know the same when it is asked again.
REMEMBER = 30 * 86400.0
#: Seconds for which the copy whose turn it is may send before another one looks too.
_TURN = 60.0
_TURN_KEY = "intake/send-left"
_CHUNK = 500


@dataclass(frozen=True)
class Left:
    """A request that was accepted and is not known to be sent."""

    request_id: str
    queue: str
    body: bytes
    created: float = 0.0

    @property
    def message(self) -> Message:
        """As it is to be sent. Raises RequestError for a queue that no version of ours has."""
        return Message(QueueName.parse(self.queue), self.body, self.request_id, self.created or None)


def take_back(memory: Engine, ids: Sequence[str], who: Identity, address: str, error: BrokerError) -> bool:
    """Forget requests of which none was sent; False if another copy has sent one meanwhile."""
    with index_errors(), memory.begin() as connection:
        for part in chunks(ids, _CHUNK):
            sent = select(asked.c.request_id).where(asked.c.request_id.in_(part), asked.c.sent.is_not(None))
            if connection.execute(sent.limit(1)).first():
                return False
        for part in chunks(ids, _CHUNK):
            connection.execute(delete(asked).where(asked.c.request_id.in_(part)))
        audit.record_all(
            connection,
            [Deed(Action.REFUSED, who.owner, address, each, {"reason": error.brief}) for each in ids],
        )
    return True


def mark_sent(memory: Engine, ids: Sequence[str]) -> None:
    """Note that the broker has them."""
    if not ids:
        return
    with index_errors(), memory.begin() as connection:
        for part in chunks(ids, _CHUNK):
            connection.execute(update(asked).where(asked.c.request_id.in_(part)).values(sent=time.time()))


def send_left(memory: Engine, sender: Sender) -> int:
    """See `testyard.intake.submit.Door.send_left`."""
    if not _take_turn(memory):
        return 0
    count, problem = 0, None
    try:
        for page in _pages(memory):
            messages = [message for left in page if (message := _message(left))]
            outcomes = sender.send_all(messages)
            sent = [message for message, error in zip(messages, outcomes, strict=True) if error is None]
            mark_sent(memory, [message.request_id for message in sent])
            sender.tell_all([accepted_event(message) for message in sent])
            count += len(sent)
            problem = problem or next((error for error in outcomes if error is not None), None)
            if not sent:
                break
    finally:
        _end_turn(memory)
    if problem is not None:
        raise problem
    return count


def _pages(memory: Engine) -> Iterator[list[Left]]:
    """The oldest first; each once, also those that cannot be sent."""
    before, place = time.time() - LEFT, (0.0, "")
    columns = asked.c.request_id, asked.c.queue, asked.c.body, asked.c.created
    while True:
        query = (
            select(*columns)
            .where(asked.c.sent.is_(None), asked.c.created < before)
            .where(tuple_(asked.c.created, asked.c.request_id) > place)
            .order_by(asked.c.created, asked.c.request_id)
            .limit(_CHUNK)
        )
        with index_errors(), memory.connect() as connection:
            page = [Left(*row) for row in connection.execute(query)]
        if not page:
            return
        yield page
        place = (page[-1].created, page[-1].request_id)


def _message(left: Left) -> Message | None:
    try:
        return left.message
    except RequestError as error:
        log.warning("%s cannot be sent: %s", left.request_id, error.brief)
        return None


def _take_turn(memory: Engine) -> bool:
    """True if no other copy is at it. Forgets what is old as well."""
    now = time.time()
    with index_errors(), memory.begin() as connection:
        _forget(connection, now)
        statement = (
            insert_for(connection.dialect)(fact)
            .values(key=_TURN_KEY, value={}, expires=now + _TURN)
            .on_conflict_do_update(
                index_elements=["key"], set_={"expires": now + _TURN}, where=fact.c.expires < now
            )
            .returning(fact.c.key)
        )
        return connection.execute(statement).first() is not None


def _end_turn(memory: Engine) -> None:
    with index_errors(), memory.begin() as connection:
        connection.execute(delete(fact).where(fact.c.key == _TURN_KEY))


def _forget(connection: Connection, now: float) -> None:
    connection.execute(delete(asked).where(asked.c.sent < now - REMEMBER))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was accepted and is not sent yet: taken back, marked as sent, or sent by whichever copy looks next.

Whoever sends a request holds its row first (``holder``), until ``next_attempt``. Only who still holds all
of a call's may take them back, so nobody is told of a request, or sends it, that another forgets meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, delete, func, select, update

from testyard.errors import BrokerError, NotSentError, NotTakenError, RequestError
from testyard.event import PRIVATE_PACKAGE, Event, EventKind
from testyard.index import index_errors
from testyard.intake import audit
from testyard.intake.audit import Action, Deed
from testyard.intake.identity import Identity
from testyard.intake.known import chunks
from testyard.intake.schema import asked
from testyard.intake.sender import Message, Sender, accepted_event
from testyard.queue import QueueName

log = logging.getLogger(__name__)

#: Seconds for which a request is its sender's; 6 times as long as that waits for the broker.
LEFT = 60.0
#: Seconds between two attempts to send what the broker does not take, and after which it is given up.
PAUSE = 300.0
GIVE_UP = 7 * 86400.0
#: Seconds for which what was sent is remembered, to know the same when it is asked again.
REMEMBER = 30 * 86400.0
_CHUNK = 500
#: PostgreSQL's locks of fingerprints: the key of the first, and how many there are. A call takes some of
#: them, and a server has room for some thousand.
_LOCKS, _FIRST_LOCK = 64, 0x7465737479000000


@dataclass(frozen=True)
class Left:
    """A request that was accepted and is not known to be sent."""

    request_id: str
    queue: str
    body: bytes
    created: float = 0.0
    owner: str = ""
    private: int = 0

    @property
    def message(self) -> Message:
        """As it is to be sent. Raises RequestError for a queue that no version of ours has."""
        return Message(QueueName.parse(self.queue), self.body, self.request_id, self.created or None)


def new_holder() -> str:
    """A name for whoever sends, which no other has."""
    return uuid4().hex


def one_after_the_other(memory: Connection, prints: Iterable[str]) -> None:
    """Of two that ask for the same at once, or take it back, one waits. SQLite's writers do so anyway."""
    if memory.dialect.name == "postgresql":
        # the same wish told twice has one id; its fingerprint is the same too
        for number in sorted({int(each[:15], 16) % _LOCKS for each in prints}):
            memory.execute(select(func.pg_advisory_xact_lock(_FIRST_LOCK + number)))  # in one order


def take_over(memory: Connection, ids: Iterable[str], holder: str) -> list[Left]:
    """Hold those that nobody has sent so far, whoever held them: they can be taken back no longer."""
    unsent = _locked(memory, ids, asked.c.sent.is_(None))
    _hold(memory, unsent, holder)
    query = select(asked.c.request_id, asked.c.queue, asked.c.body, asked.c.created)
    return [
        Left(*row)
        for part in chunks(unsent, _CHUNK)
        for row in memory.execute(query.where(asked.c.request_id.in_(part)))
    ]


def take_back(
    memory: Engine, new: dict[str, str], holder: str, *, who: Identity, address: str, error: BrokerError
) -> bool:
    """Forget requests (id → fingerprint) of which none was sent; False if another copy holds or sent one."""
    with index_errors(), memory.begin() as connection:
        one_after_the_other(connection, new.values())
        held = _locked(connection, new, asked.c.sent.is_(None), asked.c.holder == holder)
        if len(held) != len(new):
            return False
        for part in chunks(held, _CHUNK):
            connection.execute(delete(asked).where(asked.c.request_id.in_(part)))
        audit.record_all(
            connection,
            [Deed(Action.REFUSED, who.owner, address, each, {"reason": error.brief}) for each in held],
        )
    return True


def settle(
    memory: Engine, holder: str, sent: Sequence[str] = (), failed: Sequence[tuple[str, BrokerError]] = ()
) -> None:
    """Note what the broker has, and let others send the rest when that makes sense."""
    now = time.time()
    # what may have arrived stays held for its time
    again = [one for one, error in failed if isinstance(error, NotSentError)]
    later = {one for one, error in failed if isinstance(error, NotTakenError)}
    with index_errors(), memory.begin() as connection:
        _note(connection, _locked(connection, sent), sent=now, holder="")
        held = _locked(connection, again, asked.c.sent.is_(None), asked.c.holder == holder)
        _note(connection, [one for one in held if one in later], holder="", next_attempt=now + PAUSE)
        _note(connection, [one for one in held if one not in later], holder="", next_attempt=now)


def send_left(memory: Engine, sender: Sender) -> int:
    """See `testyard.intake.submit.Door.send_left`."""
    _forget(memory)
    holder, count = new_holder(), 0
    problem: BrokerError | None = None
    while page := _page(memory, holder):
        sent, failed = _send(page, sender)
        settle(memory, holder, [message.request_id for message in sent], failed)
        sender.tell_all([accepted_event(message) for message in sent])
        count += len(sent)
        errors = dict(failed)
        _give_up(memory, sender, [left for left in page if _hopeless(left, errors.get(left.request_id))])
        problem = problem or next(iter(errors.values()), None)
        if any(not isinstance(error, NotTakenError) for error in errors.values()):
            break  # the broker is away: the others would fare no better
    if problem is not None:
        raise problem
    return count


def _send(page: Sequence[Left], sender: Sender) -> tuple[list[Message], list[tuple[str, BrokerError]]]:
    messages: list[Message] = []
    failed: list[tuple[str, BrokerError]] = []
    for left in page:
        try:
            messages.append(left.message)
        except RequestError as error:
            failed.append((left.request_id, NotTakenError(error.brief)))
    outcomes = sender.send_all(messages) if messages else []
    pairs = list(zip(messages, outcomes, strict=True))
    failed += [(message.request_id, error) for message, error in pairs if error is not None]
    return [message for message, error in pairs if error is None], failed


def _page(memory: Engine, holder: str) -> list[Left]:
    """The oldest of what is due, which is ours from now on. Other copies get others."""
    now = time.time()
    columns = (
        asked.c.request_id, asked.c.queue, asked.c.body, asked.c.created, asked.c.owner, asked.c.private
    )  # fmt: skip
    query = (
        select(*columns)
        .where(asked.c.sent.is_(None), asked.c.next_attempt <= now)
        .order_by(asked.c.created, asked.c.request_id)
        .limit(_CHUNK)
        .with_for_update(skip_locked=True)
    )
    with index_errors(), memory.begin() as connection:
        page = [Left(*row) for row in connection.execute(query)]
        _hold(connection, [left.request_id for left in page], holder)
    return page


def _hopeless(left: Left, error: BrokerError | None) -> bool:
    return isinstance(error, NotTakenError) and left.created < time.time() - GIVE_UP


def _give_up(memory: Engine, sender: Sender, old: Sequence[Left]) -> None:
    """The broker is there and has not taken it for days: whoever waits for it is told of its end."""
    if not old:
        return
    reason = f"its queue did not take it for {GIVE_UP / 86400:.0f} days"
    with index_errors(), memory.begin() as connection:
        _note(connection, _locked(connection, [left.request_id for left in old]), sent=time.time())
        deeds = [Deed(Action.REFUSED, left.owner, "", left.request_id, {"reason": reason}) for left in old]
        audit.record_all(connection, deeds)
    for left in old:
        log.error("%s is given up: %s", left.request_id, reason)
    sender.tell_all([event for left in old for event in _end_of(left, reason)])


def _end_of(left: Left, reason: str) -> list[Event]:
    package = PRIVATE_PACKAGE if left.private else ""
    end = Event(EventKind.CANCELLED, left.request_id, left.queue, package, data={"reason": reason})
    try:
        return [accepted_event(left.message), end]
    except RequestError:  # from a version of ours that knew another queue
        return [end]


def _locked(memory: Connection, ids: Iterable[str], *where: Any) -> list[str]:
    """Those of them that fit, locked in one order, so that no two wait for each other."""
    query = select(asked.c.request_id).order_by(asked.c.request_id).with_for_update()
    return [
        found
        for part in chunks(sorted(set(ids)), _CHUNK)
        for found in memory.execute(query.where(asked.c.request_id.in_(part), *where)).scalars()
    ]


def _hold(memory: Connection, ids: Sequence[str], holder: str) -> None:
    _note(memory, ids, holder=holder, next_attempt=time.time() + LEFT)


def _note(memory: Connection, ids: Sequence[str], **values: Any) -> None:
    for part in chunks(ids, _CHUNK):
        memory.execute(update(asked).where(asked.c.request_id.in_(part)).values(**values))


def _forget(memory: Engine) -> None:
    with index_errors(), memory.begin() as connection:
        connection.execute(delete(asked).where(asked.c.sent < time.time() - REMEMBER))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers already given, by Idempotency-Key: asking again does nothing again, also after a crash.

A key is its owner's. While a call is worked on its answer holds only since when, and ``holder`` who does; if
that copy is killed, another takes over after `_STALE` seconds, and makes the same ids from the same key. Who
has lost a key may neither answer for it nor give it back, and accepts nothing any more (`hold`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, select, update

from testyard.errors import ConflictError, RequestError, TestyardError
from testyard.index import index_errors
from testyard.index.engine import insert_for
from testyard.intake.schema import answered

log = logging.getLogger(__name__)

#: Seconds for which an answer is kept.
KEPT = 86400.0
#: Seconds for which an equal call waits, and keeps a thread, for the one that is worked on.
PATIENCE = 3.0
_STALE = 60.0
LONGEST_KEY = 255
#: As the API's document has it; quotes around it, as the header's draft wants them, do not count.
KEY_PATTERN = '^"?[!#-~]+"?$'
_SPACE = uuid.UUID("7b0c6b4e-1d5f-5f0a-9a51-0c4d0f6f2f6e")
_BEGUN = "begun"


class KeyReusedError(TestyardError):
    """The key was used with another body."""


@dataclass(frozen=True)
class Ticket:
    """The right to work on a call, or the answer that was given; ``created`` names this use of the key.

    ``holder`` names who has that right, until somebody else takes over.
    """

    owner: str
    key: str
    created: float
    holder: str = ""
    answer: Mapping[str, Any] | None = None

    def request_id(self, number: int) -> str:
        """The id of the call's request of this number; always the same."""
        return str(uuid.uuid5(_SPACE, f"{self.owner}\n{self.key}\n{self.created!r}\n{number}"))


def checked_key(text: str) -> str:
    """The key. Raises RequestError."""
    if len(text) > LONGEST_KEY or not re.fullmatch(KEY_PATTERN, text):
        raise RequestError(
            "Idempotency-Key", f"must be 1 to {LONGEST_KEY} printable ASCII characters, no spaces or quotes"
        )
    return text.strip('"')


def digest_of(body: bytes) -> str:
    """What tells one call from another."""
    return hashlib.sha256(body).hexdigest()


def begin(memory: Engine, owner: str, key: str, digest: str) -> Ticket:
    """Take the key, or find its answer; waits `PATIENCE` seconds for an equal call's.

    Raises KeyReusedError, ConflictError.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        with index_errors(), memory.begin() as connection:
            found = _look(connection, owner, key, digest)
        if found is not None:
            return found
        if time.monotonic() > give_up:
            raise ConflictError("A call with this Idempotency-Key is being worked on.", retry_after=5)
        time.sleep(0.1)


def hold(connection: Connection, ticket: Ticket) -> None:
    """Keep the right for as long again, in the transaction that accepts. Raises ConflictError if lost."""
    statement = update(answered).where(*_held(ticket)).values(answer={_BEGUN: time.time()})
    if not connection.execute(statement).rowcount:
        raise ConflictError("Another call has taken over this Idempotency-Key.", retry_after=5)


def finish(memory: Engine, ticket: Ticket, answer: Mapping[str, Any]) -> None:
    """Keep the answer, if that is possible: what was accepted is, and asking again finds it by its ids."""
    try:
        with index_errors(), memory.begin() as connection:
            connection.execute(update(answered).where(*_held(ticket)).values(answer=dict(answer), holder=""))
    except TestyardError as error:
        log.warning("the answer to an Idempotency-Key is not kept: %s", error.brief)


def give_back(memory: Engine, ticket: Ticket) -> None:
    """Forget the key, if it is still ours: nothing was done."""
    with index_errors(), memory.begin() as connection:
        connection.execute(delete(answered).where(*_held(ticket)))


def forget_old(memory: Engine) -> int:
    """Remove what is a day old; returns how many."""
    with index_errors(), memory.begin() as connection:
        return connection.execute(delete(answered).where(answered.c.created < time.time() - KEPT)).rowcount


def _look(connection: Connection, owner: str, key: str, digest: str) -> Ticket | None:
    """None while another works on it."""
    now, holder = time.time(), uuid.uuid4().hex
    table = answered.c
    connection.execute(
        delete(answered).where(table.owner == owner, table.key == key, table.created < now - KEPT)
    )
    statement = (
        insert_for(connection.dialect)(answered)
        .values(owner=owner, key=key, digest=digest, answer={_BEGUN: now}, holder=holder, created=now)
        .on_conflict_do_nothing()
        .returning(table.key)
    )
    if connection.execute(statement).first() is not None:
        return Ticket(owner, key, now, holder)
    query = select(table.digest, table.answer, table.created).where(table.owner == owner, table.key == key)
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        return None  # given back at this moment
    if row.digest != digest:
        raise KeyReusedError("This Idempotency-Key was used with another body. Take a new one for each call.")
    if _BEGUN not in row.answer:
        return Ticket(owner, key, row.created, answer=row.answer)
    if row.answer[_BEGUN] > now - _STALE:
        return None
    this = table.owner == owner, table.key == key
    connection.execute(update(answered).where(*this).values(answer={_BEGUN: now}, holder=holder))
    return Ticket(owner, key, row.created, holder)


def _held(ticket: Ticket) -> tuple[Any, ...]:
    """This use of the key, as long as it is this holder's."""
    table = answered.c
    return table.owner == ticket.owner, table.key == ticket.key, table.holder == ticket.holder

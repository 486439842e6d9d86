# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which run or request an address of /api/v1/retry means, and the same wish once more."""

from __future__ import annotations

from sqlalchemy import Connection, select

from testyard import fields
from testyard.errors import ConflictError, MissingError, RequestError
from testyard.index.read import find_runs
from testyard.intake.again import check_secrets, what_is_asked, wish_again
from testyard.intake.identity import Identity, Scope
from testyard.intake.schema import asked
from testyard.intake.submit import Wish
from testyard.queue import QueueName
from testyard.request import parse_body
from testyard.store import is_private

_UNKNOWN = "No run that is to be seen here, and no request of ours, has this id."


def wish_for(memory: Connection, index: Connection, reference: str, who: Identity) -> Wish:
    """The same once more. ``reference`` is a request's id, a run id (with or without ``@``), or a run's path.

    Raises MissingError if there is none that ``who`` may see, ConflictError if several are meant, and
    RequestError if it is not known any more what was asked for, or it had secrets of somebody else.
    """
    text = reference.strip().rstrip("/")
    if not text.isprintable():  # PostgreSQL has no text with NUL in it
        raise MissingError(_UNKNOWN)
    try:
        request_id = fields.request_id("id", text)
    except RequestError:
        request_id = None
    wish = _as_asked(memory, request_id, who) if request_id else None
    if wish is not None:
        return wish
    runs = find_runs(index, request_id or text) or find_runs(index, f"{text}@")
    public = [run for run in runs if not is_private(run.container)]
    if not public:
        raise MissingError(_UNKNOWN)
    if len(public) > 1 and not request_id:
        raise ConflictError(f"{len(public)} runs have this id: name one by its path or its request's id.")
    return wish_again(memory, index, public[0], owner=who.owner)


def _as_asked(memory: Connection, request_id: str, who: Identity) -> Wish | None:
    """As it came by our doors; None if it did not, or is somebody else's private one."""
    row = memory.execute(select(asked).where(asked.c.request_id == request_id)).first()
    if row is None or (row.private and not (row.owner == who.owner and Scope.READ_PRIVATE in who.scopes)):
        return None
    request = parse_body(row.body)
    check_secrets(request.parameters, row.owner, who.owner)
    wanted = what_is_asked(request.parameters)
    return Wish(QueueName.parse(row.queue), request.package, wanted)

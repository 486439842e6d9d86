# SPDX-License-Identifier: AGPL-3.0-or-later
"""Errors as programs are told of them: problem details of RFC 9457."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from testyard.errors import (
    BrokerError,
    ConflictError,
    ForbiddenError,
    LimitError,
    MissingError,
    OutsideError,
    RequestError,
    StoreError,
    TestyardError,
)

MEDIA_TYPE = "application/problem+json"
#: What a problem's ``type`` begins with; docs/api.md lists what follows.
URN = "urn:testyard:problem:"
#: Seconds after which to try again when the broker, the store or a database was away.
AWAY = 10


@dataclass(frozen=True)
class Problem:
    """``kind`` ends its type; ``errors`` are the fields that are wrong, with what would be right."""

    status: int
    kind: str
    detail: str
    errors: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, instance: str) -> dict[str, Any]:
        """The object; ``instance`` is the path of the call."""
        found: dict[str, Any] = {
            "type": f"{URN}{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            found["errors"] = [{"field": name, "problem": problem} for name, problem in self.errors]
        return found


def invalid(*errors: tuple[str, str]) -> Problem:
    """Fields that are wrong."""
    words = "; ".join(f"{name}: {problem}" for name, problem in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return Problem(422, "invalid", f"{words}{more}", errors)


def away(detail: str) -> Problem:
    """Something that will be back."""
    return Problem(503, "away", detail, headers={"Retry-After": str(AWAY)})


def problem_of(error: TestyardError) -> Problem:
    """What an error of ours is to whoever asked. Of what is ours to mend it tells no details."""
    match error:
        case RequestError():
            found = invalid((error.field, error.problem))
        case ForbiddenError(login=True):
            challenge = {"WWW-Authenticate": 'Bearer realm="testyard"'}
            found = Problem(401, "login", _words(error), headers=challenge)
        case ForbiddenError():
            found = Problem(403, "forbidden", _words(error))
        case MissingError():
            found = Problem(404, "missing", error.brief)
        case ConflictError():
            found = Problem(409, "conflict", error.brief, headers=_wait(error.retry_after))
        case LimitError():
            found = Problem(429, "limit", error.brief, headers=_wait(max(1, error.retry_after)))
        case BrokerError():
            found = away("The message broker is away. Nothing was accepted; try again.")
        case StoreError():
            found = away("The store is away. Nothing was done; try again.")
        case OutsideError():
            found = away("A server that must be asked about this is away. Nothing was accepted; try again.")
        case _:
            found = away("A database is away. Try again.")
    return found


def _wait(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(seconds))} if seconds else {}


def sentences(brief: str, more: str) -> str:
    """One after the other; the first gets a full stop if it has no end of its own."""
    if not (brief and more):
        return brief or more
    return f"{brief} {more}" if brief[-1] in ".:;!?" else f"{brief}. {more}"


def _words(error: TestyardError) -> str:
    return sentences(error.brief, error.resolution)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A forge's delivery on its way from the webhook function to the forge function: queue `testyard-hooks`.

Standard library only: the webhook function must start fast.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from testyard.errors import ResultError
from testyard.jsonobject import parse_object

#: Larger ones are refused. GitHub's own limit is 25 MB; what concerns us has 10 to 60 kB, and at most
#: two texts of 65,536 characters. Only pushes of thousands of commits are larger.
MOST_BYTES = 4 * 1024 * 1024

#: Pressed twice, the body may be the same. A replay finds that the check is another request's by then.
_AGAIN = ("check_run",)


@dataclass(frozen=True)
class Delivery:
    """What was taken, or ``refused`` and why: then there is no ``body``.

    ``project`` is ``owner/project``, proved by the signature. ``event`` is the forge's word for it, ``id``
    the forge's id: no signature covers these two, nor ``query``, the hook's address behind the ``?``.
    ``time`` is Unix time. ``left_out`` counts refused ones before this one that nobody was told of.
    ``not_before`` is the Unix time until which it is put off; ``waits`` is why it was, the last time.
    """

    forge: str
    project: str
    event: str
    id: str
    query: str
    address: str
    body: str = ""
    time: float = field(default_factory=time.time)
    refused: str = ""
    left_out: int = 0
    not_before: float = 0.0
    waits: str = ""

    @property
    def key(self) -> str:
        """By which a replay is known, also one with another id: what was said, to which address."""
        again = self.id if self.event in _AGAIN else ""
        said = json.dumps([self.forge, self.query, again, self.body])
        return hashlib.sha256(said.encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """JSON, UTF-8."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Delivery:
        """Read one; raises ResultError."""
        try:
            value = {"not_before": 0.0, "waits": "", **parse_object(body)}
            return cls(**{each.name: _typed(each.name, value[each.name]) for each in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            raise ResultError(f"delivery: {error}") from error


def _typed(name: str, value: Any) -> Any:
    kinds: Any = {"time": int | float, "not_before": int | float, "left_out": int}.get(name, str)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{name} is of the wrong type")
    return value

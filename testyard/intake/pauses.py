# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom nobody shall ask for a while, because one was told so or got no answer; all copies keep to it.

A pause is a row of ``intake_fact``. Once it is over, one asker tries, and the others when that has worked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from sqlalchemy import Engine, delete, select, update

from testyard.index import index_errors
from testyard.index.engine import insert_for
from testyard.intake.schema import fact

#: Seconds for which the one who tries is waited for: longer than an attempt may take.
_TRIAL = 60.0
#: Seconds between two attempts at most, unless a longer time was asked for.
_LONGEST = 300.0
#: Seconds after its end for which a pause is remembered, so that the next one is longer.
_REMEMBER = 3600.0
_PREFIX = "pause/"


class Pauses:
    """For any number of threads. A name is a host, an account on one, a destination: one that may be away."""

    def __init__(self, memory: Engine) -> None:
        self._memory = memory

    def enter(self, names: Sequence[str]) -> tuple[float, frozenset[str]]:
        """Seconds until they may be asked, 0 if now; and those for which this is the trial.

        A trial must be followed by `failed` or `worked`. Raises TestyardError.
        """
        now = time.time()
        with index_errors(), self._memory.connect() as connection:
            query = select(fact.c.key, fact.c.expires).where(
                fact.c.key.in_([_PREFIX + each for each in names])
            )
            found = connection.execute(query).all()
        if not found:
            return 0.0, frozenset()
        if (wait := max(row.expires for row in found) - now) > 0:
            return wait, frozenset()
        with index_errors(), self._memory.begin() as connection:
            for row in found:
                first = connection.execute(
                    update(fact)
                    .where(fact.c.key == row.key, fact.c.expires == row.expires)
                    .values(expires=now + _TRIAL)
                )
                if not first.rowcount:  # somebody else tries; what we took of others ends by itself
                    return random.uniform(2.0, 5.0), frozenset()  # noqa: S311  no secret
        return 0.0, frozenset(row.key.removeprefix(_PREFIX) for row in found)

    def failed(self, name: str, asked: float | None = None, *, trial: bool = False) -> float:
        """It could not be asked: nobody shall for a while, ``asked`` seconds at least. Returns how long.

        Raises TestyardError.
        """
        now, key = time.time(), _PREFIX + name
        with index_errors(), self._memory.begin() as connection:
            before = connection.execute(select(fact.c.value, fact.c.expires).where(fact.c.key == key)).first()
            times = int(before.value.get("times", 0)) if before else 0
            if before is None or trial or before.expires < now:  # else it is one failure that several met
                times += 1
            pause = max(min(2.0**times, _LONGEST), asked or 0.0)
            pause *= random.uniform(1.0, 1.2)  # noqa: S311  so that not all come back at once
            values = {"value": {"times": min(times, 30)}, "expires": now + pause}
            longer = fact.c.expires < now + pause
            connection.execute(
                insert_for(connection.dialect)(fact)
                .values(key=key, **values)
                .on_conflict_do_update(
                    index_elements=[fact.c.key], set_=values, where=None if trial else longer
                )
            )
            old = fact.c.expires < now - _REMEMBER
            connection.execute(delete(fact).where(fact.c.key.startswith(_PREFIX), old))
        return pause

    def worked(self, names: Sequence[str]) -> None:
        """They answer again. Raises TestyardError."""
        with index_errors(), self._memory.begin() as connection:
            connection.execute(delete(fact).where(fact.c.key.in_([_PREFIX + each for each in names])))

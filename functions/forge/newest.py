# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is the newest that a forge has told of a pull request or branch, kept where all copies see it.

By the forge's own time: when a delivery arrives says nothing, it may be late, or be sent once more.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, select

from testyard.index import index_errors
from testyard.index.engine import insert_for
from testyard.intake.delivery import Delivery
from testyard.intake.hook import Hook, HookKind
from testyard.intake.schema import fact

#: Seconds after the forge's time for which it is kept: longer than a delivery is remembered.
_KEEP = 60 * 86400.0
#: A forge whose clock is so many seconds ahead has a wrong one: the time of arrival counts.
_AHEAD = 86400.0
_DAY = 86400.0
_NEWEST, _LABELS, _DONE = "hook-newest/", "hook-labels/", "hook-done/"


@dataclass(frozen=True)
class Newest:
    """``told`` is when the forge told of it, ``received`` when that arrived (Unix seconds)."""

    head: str
    told: float
    received: float = 0.0
    closed: bool = False

    def outdates(self, hook: Hook, told: float) -> bool:
        """True if this makes useless what ``hook`` tells, which the forge told at ``told``."""
        if self.told <= told:
            return False
        return self.closed or hook.kind is HookKind.CLOSED or self.head != hook.head


def told_at(hook: Hook, delivery: Delivery) -> float:
    """When the forge told of it (Unix seconds); when it arrived, if that is not known."""
    return hook.told if 0 < hook.told < delivery.time + _AHEAD else delivery.time


def newest_of(memory: Engine, thing: str) -> Newest | None:
    """The newest that was worked on of `Hook.thing`."""
    query = select(fact.c.value).where(fact.c.key == _NEWEST + thing)
    with index_errors(), memory.connect() as connection:
        row = connection.execute(query).first()
    if row is None:
        return None
    value = row.value
    return Newest(value["head"], value["told"], value["received"], bool(value["closed"]))


def take_as_newest(memory: Engine, hook: Hook, delivery: Delivery) -> None:
    """Note it as the newest, unless something newer is known already."""
    closed, told = hook.kind is HookKind.CLOSED, told_at(hook, delivery)
    values = {
        "value": {"head": hook.head, "told": told, "received": delivery.time, "closed": closed},
        "expires": told + _KEEP,
    }
    with index_errors(), memory.begin() as connection:
        connection.execute(
            insert_for(connection.dialect)(fact)
            .values(key=_NEWEST + hook.thing, **values)
            .on_conflict_do_update(
                index_elements=["key"], set_=values, where=fact.c.expires <= values["expires"]
            )
        )


def labels_given(memory: Engine, hook: Hook, delivery: Delivery) -> frozenset[str] | None:
    """The labels that are new since the last delivery about it; None if this is the first.

    For forges that do not say which were given. The same for a delivery that is worked on again.
    """
    key = _LABELS + hook.thing
    with index_errors(), memory.begin() as connection:
        row = connection.execute(select(fact.c.value).where(fact.c.key == key)).first()
        before = None if row is None else row.value["labels"]
        if row is not None and row.value["by"] == delivery.key:
            before = row.value["before"]
        values = {
            "value": {"labels": sorted(hook.labels), "before": before, "by": delivery.key},
            "expires": delivery.time + _KEEP,
        }
        connection.execute(
            insert_for(connection.dialect)(fact)
            .values(key=key, **values)
            .on_conflict_do_update(index_elements=["key"], set_=values)
        )
    return None if before is None else hook.labels - set(before)


def is_done(memory: Engine, deed: str) -> bool:
    """True if something that must not be done twice was done: by a first attempt at the same delivery."""
    with index_errors(), memory.connect() as connection:
        query = select(fact.c.key).where(fact.c.key == _DONE + deed)
        return connection.execute(query).first() is not None


def note_done(memory: Engine, deed: str, now: float) -> None:
    """Remember it for a day."""
    values = {"value": {}, "expires": now + _DAY}
    with index_errors(), memory.begin() as connection:
        connection.execute(
            insert_for(connection.dialect)(fact).values(key=_DONE + deed, **values).on_conflict_do_nothing()
        )


def forget_old(connection: Connection, now: float) -> None:
    """Remove what is not needed any more."""
    for kind in (_NEWEST, _LABELS, _DONE):
        connection.execute(delete(fact).where(fact.c.key.startswith(kind), fact.c.expires < now))

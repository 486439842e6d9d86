# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rate limits that any number of copies share: token buckets in the table ``intake_bucket``.

A bucket holds ``size`` and is filled again by ``per_second``. What costs more than ``size`` may be taken
from a full one, which then owes the rest: so nothing that is asked for once is refused for ever.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Float, bindparam, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from testyard.admission import Rates
from testyard.errors import LimitError
from testyard.intake.schema import bucket

#: Leading bits of an IPv6 address that one customer has: whoever has one address has 2^64 of them.
_IPV6_BITS = 64


@dataclass(frozen=True)
class Bucket:
    """One limit. ``kind`` and ``name`` make its key; ``what`` tells people whose limit it is."""

    kind: str
    name: str
    size: float
    per_second: float
    what: str = ""

    @property
    def key(self) -> str:
        """Its row."""
        return f"{self.kind}/{self.name[:200]}"


def buckets_of(rates: Rates, owner: str, address: str) -> tuple[Bucket, ...]:
    """The limits of somebody at an address; either may be empty if it is not known.

    What is no address has no bucket: whoever can choose a text could choose a full one.
    """
    found = []
    if network := network_of(address):
        size, rate = rates.address_burst, rates.address_per_minute / 60
        found.append(Bucket("address", network, size, rate, "this address"))
    if owner:
        size, rate = rates.identity_burst, rates.identity_per_minute / 60
        found.append(Bucket("identity", owner, size, rate, owner))
    return tuple(found)


def take(
    connection: Connection, buckets: Sequence[Bucket], cost: float = 1, now: float | None = None
) -> None:
    """Take ``cost`` from each. Raises LimitError, after which the caller's transaction must be undone."""
    now = time.time() if now is None else now
    for one in buckets:  # in one order of kinds, so that two can never wait for each other
        if not _taken(connection, one, cost, now):
            raise _too_much(one, _wait(connection, one, cost, now))


def check(connection: Connection, buckets: Sequence[Bucket]) -> None:
    """Only look whether one more could be taken, for which no lock is needed. Raises LimitError."""
    now = time.time()
    for one in buckets:
        missing = min(1, one.size) - _left_of(connection, one, now)
        if missing > 0:
            raise _too_much(one, max(missing / one.per_second, 1.0))


def forget_full(connection: Connection, sizes: Sequence[Bucket], now: float | None = None) -> int:
    """Remove the buckets that are full again, of the kinds of ``sizes``; returns how many."""
    now = time.time() if now is None else now
    removed = 0
    for one in sizes:
        full = bucket.c.left + (now - bucket.c.updated) * one.per_second >= one.size
        removed += connection.execute(
            delete(bucket).where(bucket.c.key.startswith(f"{one.kind}/"), full)
        ).rowcount
    return removed


def _too_much(one: Bucket, wait: float) -> LimitError:
    return LimitError(
        f"too many requests of {one.what or one.name}: {one.size:g} at once and"
        f" {one.per_second * 60:g} a minute are taken; again in {wait:.0f} s",
        retry_after=wait,
    )


def _taken(connection: Connection, one: Bucket, cost: float, now: float) -> bool:
    values = {
        "bucket_key": one.key, "bucket_size": one.size, "rate": one.per_second, "bucket_now": now,
        "cost": cost, "need": min(cost, one.size), "rest": one.size - cost,
    }  # fmt: skip
    return connection.execute(_take_one(connection.dialect.name), values).first() is not None


@cache
def _take_one(dialect: str) -> Executable:
    """The one statement; to build it costs more than to execute it."""
    now = bindparam("bucket_now", type_=Float)
    left = _left(bindparam("bucket_size", type_=Float), bindparam("rate", type_=Float), now)
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Executable = (
        insert(bucket)
        .values(key=bindparam("bucket_key"), left=bindparam("rest", type_=Float), updated=now)
        .on_conflict_do_update(
            index_elements=[bucket.c.key],
            # the clocks of two machines differ: time never goes back
            set_={
                "left": left - bindparam("cost", type_=Float),
                "updated": case((bucket.c.updated < now, now), else_=bucket.c.updated),
            },
            where=left >= bindparam("need", type_=Float),
        )
        .returning(bucket.c.key)
    )
    return statement


def _left(size: Any, rate: Any, now: Any) -> ColumnElement[float]:
    """What is in a bucket now."""
    since = case((bucket.c.updated < now, now - bucket.c.updated), else_=0.0)
    grown = bucket.c.left + since * rate
    return case((grown > size, size), else_=grown)


def _wait(connection: Connection, one: Bucket, cost: float, now: float) -> float:
    missing = min(cost, one.size) - _left_of(connection, one, now)
    return max(missing / one.per_second, 1.0)


def _left_of(connection: Connection, one: Bucket, now: float) -> float:
    query = select(_left(one.size, one.per_second, now)).where(bucket.c.key == one.key)
    left = connection.execute(query).scalar_one_or_none()
    return one.size if left is None else float(left)


def network_of(address: str) -> str:
    """What stands for an address: an IPv6 one has its customer's network; empty if it is none."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> (128 - _IPV6_BITS) << (128 - _IPV6_BITS)))
    return str(found)

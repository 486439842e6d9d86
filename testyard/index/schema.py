# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables. Times are Unix seconds, UTC."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

#: One stored run each.
run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("container", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("architecture", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("triggers", Text, nullable=False, default=""),
    Column("env", Text, nullable=False, default=""),
    Column("requester", Text),
    Column("request_id", Text),
    Column("exit_code", Integer, nullable=False),
    Column("duration", Integer, nullable=False),
    Column("completed", Float, nullable=False),
    Column("phases", JSON, nullable=False, default=list),
    Column("facts", JSON, nullable=False, default=dict),
    UniqueConstraint("source", "release", "architecture", "run_id", "container"),
    Index("run_completed", "completed"),
    Index("run_request_id", "request_id"),
    Index("run_run_id", "run_id"),
)

#: One test of a run each, in the summary's order. ``seconds`` is null where it was not measured.
subtest = Table(
    "subtest",
    metadata,
    Column("run", Integer, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("seconds", Float),
)

#: One request each that we have heard of, from its acceptance to the end.
request = Table(
    "request",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("package", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("accepted", Float),
    Column("taken", Float),
    Column("updated", Float, nullable=False),
    Column("worker", Text, nullable=False, default=""),
    Column("attempt", Integer, nullable=False, default=0),
    Column("reason", Text, nullable=False, default=""),
    Column("parameters", JSON, nullable=False, default=dict),
    Column("phases", JSON, nullable=False, default=list),
    Column("log_tail", Text, nullable=False, default=""),
    Column("log_end", Integer, nullable=False, default=0),
    Column("container", Text),
    Column("path", Text),
    Index("request_state", "state", "accepted"),
    Index("request_package", "package", "state"),
    Index("request_queue", "queue", "taken"),
)

#: The log of a run while it runs, and for some minutes after; see `testyard.livelog`. ``start`` and
#: ``until`` are places in the log's bytes, ``told`` is when it was told. Start equals until where it ends.
log_piece = Table(
    "log_piece",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("start", Integer, primary_key=True),
    Column("until", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("told", Float, nullable=False),
)

#: A request that came straight by AMQP, one row each; ``id`` is provisional if the body has none. ``became``
#: is the id that its worker chose, or its own. ``body`` stays while it waits, unless it is private or secret.
arrival = Table(
    "arrival",
    metadata,
    Column("id", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("arrived", Float, nullable=False),
    Column("became", Text),
    Column("body", LargeBinary),
    Index("arrival_waiting", "queue", "digest", "became", "arrived"),
)

#: How many messages wait in each queue, as the status function last saw it.
queue_length = Table(
    "queue_length",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("messages", Integer, nullable=False),
    Column("consumers", Integer, nullable=False),
    Column("updated", Float, nullable=False),
)

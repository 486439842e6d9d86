# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the intake must remember, and nothing can rebuild. Times are Unix seconds, UTC.

These tables live beside the index's (`intake.database`, by default the same database), and are not part
of it: the index may be thrown away, these may not.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

#: API tokens. ``hash`` is the SHA-256 of the secret part, in hex; the secret itself is shown once.
token = Table(
    "intake_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("groups", JSON, nullable=False, default=list),
    Column("scopes", JSON, nullable=False, default=list),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("used", Float),
    Index("intake_token_owner", "owner"),
)

#: People who have logged in. ``hash`` is the SHA-256 of the cookie's value, in hex; ``token`` the id of the
#: token by which they did, if it was one: the session may do no more, and ends with it.
session = Table(
    "intake_session",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("groups", JSON, nullable=False, default=list),
    Column("token", Text, nullable=False, default=""),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Index("intake_session_expires", "expires"),
)

#: Requests that came through our doors. ``sent`` is null until the broker has confirmed the message, or it
#: was given up: what was accepted and not sent is sent by whichever copy looks next. ``holder`` is who sends
#: it at the moment, until ``next_attempt``.
asked = Table(
    "intake_asked",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("queue", Text, nullable=False),
    Column("package", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("private", Integer, nullable=False, default=0),
    Column("subject", Text, nullable=False, default=""),
    Column("body", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    Column("sent", Float),
    Column("holder", Text, nullable=False, default=""),
    Column("next_attempt", Float, nullable=False, default=0),
    Index("intake_asked_fingerprint", "fingerprint", "created"),
    Index("intake_asked_unsent", "sent", "created"),
    Index("intake_asked_subject", "subject", "created"),
    Index("intake_asked_owner", "owner", "created"),
)

#: Answers already given, by Idempotency-Key. ``digest`` is the SHA-256 of what was asked, in hex; ``holder``
#: is who works on it, as long as there is no answer.
answered = Table(
    "intake_answered",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("holder", Text, nullable=False, default=""),
    Column("created", Float, nullable=False),
    Index("intake_answered_created", "created"),
)

#: Who did what. ``details`` has no secret, and of a private request nothing but its id.
audit = Table(
    "intake_audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("action", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("address", Text, nullable=False, default=""),
    Column("request_id", Text),
    Column("details", JSON, nullable=False, default=dict),
    Index("intake_audit_time", "time"),
    Index("intake_audit_owner", "owner", "time"),
    Index("intake_audit_request_id", "request_id"),
)

#: Buckets of rate limits: what is left in each, and when that was so.
bucket = Table(
    "intake_bucket",
    metadata,
    Column("key", Text, primary_key=True),
    Column("left", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Index("intake_bucket_updated", "updated"),
)

#: What others told us and may be asked again later: Launchpad's answers, states of logins under way.
fact = Table(
    "intake_fact",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
    Column("expires", Float, nullable=False),
    Index("intake_fact_expires", "expires"),
)

#: Deliveries of hooks that were worked on, so that a replay does nothing.
delivery = Table(
    "intake_delivery",
    metadata,
    Column("forge", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("received", Float, nullable=False),
    Column("outcome", Text, nullable=False, default=""),
    Index("intake_delivery_received", "received"),
)

#: What a forge shall show for a commit: one row for each context of it, of the request that was asked for
#: last. ``turn`` counts the changes of what is wanted, ``told_turn`` is the last one that the forge has
#: confirmed. ``holder`` is who tells it at the moment, until ``next_attempt``, which is null while there is
#: nothing to tell. ``next_look`` is when the sweep looks whether an event was lost; null once it has ended.
status = Table(
    "intake_status",
    metadata,
    Column("forge", Text, primary_key=True),
    Column("project", Text, primary_key=True),
    Column("commit", Text, primary_key=True),
    Column("context", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("place", JSON, nullable=False, default=dict),
    Column("details", JSON, nullable=False, default=dict),
    Column("wanted", Text, nullable=False),
    Column("ended", JSON, nullable=False, default=dict),
    Column("event_time", Float, nullable=False, default=0),
    Column("turn", Integer, nullable=False, default=1),
    Column("told", Text, nullable=False, default=""),
    Column("told_turn", Integer, nullable=False, default=0),
    Column("memo", JSON, nullable=False, default=dict),
    Column("holder", Text, nullable=False, default=""),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt", Float),
    Column("next_look", Float),
    Column("problem", Text, nullable=False, default=""),
    Index("intake_status_next", "next_attempt"),
    Index("intake_status_look", "next_look"),
    Index("intake_status_request", "request_id"),
    Index("intake_status_updated", "updated"),
)

#: What is to be told to somebody of a run: one row for each destination. ``holder`` is who tells it at the
#: moment, until ``next_attempt``, which is null once it was told or given up.
notice = Table(
    "intake_notice",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("run", Text, primary_key=True),
    Column("body", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("told", Float),
    Column("holder", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt", Float),
    Column("problem", Text, nullable=False, default=""),
    Index("intake_notice_next", "next_attempt"),
    Index("intake_notice_created", "created"),
)

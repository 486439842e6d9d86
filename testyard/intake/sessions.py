# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sessions of people who have logged in: a random cookie, of which only a digest is kept.

Site and functions share this module, so they share one login.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from testyard.intake.identity import Identity
from testyard.intake.schema import session
from testyard.intake.tokens import live_token

#: Seconds that a login lasts, however much the session is used.
LIFETIME = 12 * 3600.0
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def cookie_name(*, secure: bool) -> str:
    """The cookie's name. Browsers take a ``__Host-`` cookie from this very host only, and over TLS."""
    return "__Host-testyard" if secure else "testyard"


def begin(
    connection: Connection, *, owner: str, login: str, groups: Sequence[str] = (), token: str = ""
) -> str:
    """Note that somebody has logged in, perhaps by a token; returns the cookie's value, always a new one."""
    now, value = time.time(), secrets.token_urlsafe(32)
    connection.execute(delete(session).where(session.c.expires < now))
    connection.execute(
        session.insert().values(
            hash=_hash(value),
            owner=owner,
            login=login,
            groups=list(groups),
            token=token,
            created=now,
            expires=now + LIFETIME,
        )
    )
    return value


def identify(connection: Connection, cookie: str) -> Identity | None:
    """Whose session this is; None if it is nobody's or has ended."""
    if not _VALUE.fullmatch(cookie):
        return None
    # the digest is what is looked for, so how long the search takes tells nothing about a cookie
    query = select(session).where(session.c.hash == _hash(cookie), session.c.expires > time.time())
    row = connection.execute(query).one_or_none()
    if row is None or not row.token:
        return None if row is None else Identity(row.owner, row.login, tuple(row.groups))
    found = live_token(connection, row.token)
    return None if found is None else found.identity


def end(connection: Connection, cookie: str) -> None:
    """Forget a session; nothing if there is none."""
    connection.execute(delete(session).where(session.c.hash == _hash(cookie)))


def csrf(cookie: str) -> str:
    """What a form of this session's pages must send along; another site cannot know it."""
    return hmac.digest(cookie.encode(), b"testyard form", "sha256").hex()


def csrf_fits(cookie: str, value: str) -> bool:
    """Whether a form came from one of this session's pages."""
    return bool(cookie) and hmac.compare_digest(csrf(cookie).encode(), value.encode(errors="replace"))


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()

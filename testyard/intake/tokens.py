# SPDX-License-Identifier: AGPL-3.0-or-later
"""API tokens: ``ty_<id>_<secret>``. The secret is shown once; what is kept is its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, or_, select, update

from testyard.errors import RequestError
from testyard.index import limits
from testyard.intake.identity import Identity, Scope
from testyard.intake.schema import token

_TEXT = re.compile(r"ty_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[0-9a-f]{16}")
#: Seconds between two notes of a token's use: a script that asks each second need not write each second.
_NOTED_EVERY = 60.0
#: Compared with where there is no such token, so that the answer takes as long.
_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Token:
    """A token as it may be shown. Times are Unix seconds; ``expires`` is None for one that lasts."""

    id: str
    name: str
    owner: str
    groups: tuple[str, ...]
    scopes: frozenset[Scope]
    created: float
    expires: float | None = None
    revoked: float | None = None
    used: float | None = None

    @property
    def identity(self) -> Identity:
        """Who asks with it."""
        login = self.owner.partition("/")[2] or self.owner
        return Identity(self.owner, login, self.groups, self.scopes, self.id)

    def live(self, now: float) -> bool:
        """True if it opens the door at ``now``."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def noted(self, now: float) -> bool:
        """True if its last use was noted so lately that this one need not be."""
        return self.used is not None and self.used >= now - _NOTED_EVERY


def make(
    connection: Connection,
    *,
    owner: str,
    name: str,
    groups: Sequence[str] = (),
    scopes: Collection[Scope] = (Scope.REQUEST,),
    expires: float | None = None,
) -> tuple[str, str]:
    """Make a token; returns its id and its text, which nobody can be told again.

    Raises RequestError for an owner, name or scopes that are no good.
    """
    _check(owner, name, groups, scopes)
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    connection.execute(
        token.insert().values(
            id=token_id,
            hash=_hash(secret),
            name=name,
            owner=owner,
            groups=list(groups),
            scopes=sorted(scopes),
            created=time.time(),
            expires=expires,
        )
    )
    return token_id, f"ty_{token_id}_{secret}"


def identify(connection: Connection, text: str) -> Identity | None:
    """Whose token this is; None if it is nobody's, has expired or was revoked."""
    parts = _TEXT.fullmatch(text)
    if parts is None:
        return None
    row = connection.execute(select(token).where(token.c.id == parts[1])).one_or_none()
    same = hmac.compare_digest(_hash(parts[2]), row.hash if row else _NO_HASH)
    if row is None or not same:
        return None
    found = _token(row)
    return found.identity if found.live(time.time()) else None


def live_token(connection: Connection, token_id: str) -> Token | None:
    """A token that opens the door now, by its id."""
    row = connection.execute(select(token).where(token.c.id == token_id)).one_or_none()
    found = None if row is None else _token(row)
    return found if found is not None and found.live(time.time()) else None


def note_use(connection: Connection, token_id: str) -> None:
    """Note that a token was used, once a minute at most; `Token.noted` tells whether there is need."""
    now = time.time()
    stale = or_(token.c.used.is_(None), token.c.used < now - _NOTED_EVERY)
    connection.execute(update(token).where(token.c.id == token_id, stale).values(used=now))


def revoke(connection: Connection, token_id: str, *, owner: str | None = None) -> Token | None:
    """End a token, of this owner if one is named; None if there is none that could be ended."""
    if not _ID.fullmatch(token_id):
        return None
    query = update(token).where(token.c.id == token_id, token.c.revoked.is_(None))
    if owner is not None:
        query = query.where(token.c.owner == owner)
    row = connection.execute(query.values(revoked=time.time()).returning(token)).one_or_none()
    return None if row is None else _token(row)


def tokens_of(connection: Connection, owner: str | None = None) -> tuple[Token, ...]:
    """All tokens, or an owner's, the newest first; revoked and expired ones too."""
    query = select(token).order_by(token.c.created.desc(), token.c.id)
    if owner is not None:
        query = query.where(token.c.owner == owner)
    return tuple(_token(row) for row in connection.execute(query))


def _check(owner: str, name: str, groups: Sequence[str], scopes: Collection[Scope]) -> None:
    provider, _, login = owner.partition("/")
    if not (provider and login and owner.isprintable()) or len(owner) > limits.LONGEST_TEXT:
        raise RequestError("owner", "must be PROVIDER/NAME, such as operator/release-bot")
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise RequestError("name", "must be 1 to 100 characters that can be printed")
    if not all("/" in group and group.isprintable() for group in groups):
        raise RequestError("groups", "must be PROVIDER/GROUP each, such as github/testyard")
    if not scopes:
        raise RequestError("scopes", f"at least one of {', '.join(Scope)}")


def _hash(secret: str) -> str:
    # 256 random bits: no salt and no slow digest makes guessing any harder
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Row[tuple[object, ...]]) -> Token:
    values = row._mapping
    known = {str(scope) for scope in Scope}
    return Token(
        id=values["id"],
        name=values["name"],
        owner=values["owner"],
        groups=tuple(values["groups"]),
        scopes=frozenset(Scope(scope) for scope in values["scopes"] if scope in known),
        created=values["created"],
        expires=values["expires"],
        revoked=values["revoked"],
        used=values["used"],
    )

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose a token or a session's cookie is, for site and functions alike."""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine

from testyard.errors import ForbiddenError, TestyardError
from testyard.index import index_errors
from testyard.intake import sessions, tokens
from testyard.intake.identity import Identity

log = logging.getLogger(__name__)

#: Browsers send no longer cookie, and tokens are shorter by far.
_LONGEST = 4096


def recognise(reader: Engine, writer: Engine, *, token: str = "", cookie: str = "") -> Identity | None:
    """Who has the token or, without one, the session; None if it is nobody's session.

    Anybody can send a cookie, so it is looked for without the lock that SQLite's writers share; only that
    a token was used is written, once a minute. Raises ForbiddenError if a token opens nothing, and
    TestyardError if the database is away.
    """
    with index_errors(), reader.connect() as connection:
        if token:
            found = tokens.identify(connection, token[:_LONGEST])
        else:
            found = sessions.identify(connection, cookie[:_LONGEST])
        used = tokens.live_token(connection, found.token) if found and found.token else None
    if token and found is None:
        raise ForbiddenError("This token opens nothing: it is wrong, has expired or was revoked.", login=True)
    if used and not used.noted(time.time()):
        _note(writer, used.id)
    return found


def _note(writer: Engine, token_id: str) -> None:
    try:
        with index_errors(), writer.begin() as connection:
            tokens.note_use(connection, token_id)
    except TestyardError as error:  # the token is good all the same
        log.warning("that a token was used could not be noted: %s", error.brief)

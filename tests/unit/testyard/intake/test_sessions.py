# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sessions of people."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from testyard.intake import Identity, Scope, sessions
from testyard.intake.schema import session


def begin(memory: Engine) -> str:
    with memory.begin() as connection:
        return sessions.begin(connection, owner="github/jane", login="jane", groups=["github/testers"])


def identify(memory: Engine, cookie: str) -> Identity | None:
    with memory.connect() as connection:
        return sessions.identify(connection, cookie)


def test_a_session_is_known_by_its_cookie_until_it_ends(memory: Engine) -> None:
    cookie, other = begin(memory), begin(memory)
    assert cookie != other
    assert identify(memory, cookie) == Identity("github/jane", "jane", ("github/testers",), frozenset(Scope))
    assert identify(memory, "") is None
    assert identify(memory, cookie[:-1]) is None
    assert identify(memory, f"{cookie}\n") is None
    with memory.begin() as connection:
        sessions.end(connection, cookie)
    assert identify(memory, cookie) is None
    assert identify(memory, other) is not None


def test_after_twelve_hours_it_is_over_and_then_gone(memory: Engine) -> None:
    cookie = begin(memory)
    with memory.connect() as connection:
        row = connection.execute(select(session)).one()
    assert row.expires - row.created == 12 * 3600
    assert cookie not in str(row)
    with memory.begin() as connection:
        connection.execute(update(session).values(expires=time.time() - 1))
    assert identify(memory, cookie) is None
    begin(memory)
    with memory.connect() as connection:
        assert len(connection.execute(select(session)).all()) == 1


def test_a_forms_token_fits_its_session_only() -> None:
    assert sessions.csrf_fits("a", sessions.csrf("a"))
    assert not sessions.csrf_fits("b", sessions.csrf("a"))
    assert not sessions.csrf_fits("", sessions.csrf(""))
    assert "a" * 43 not in sessions.csrf("a" * 43)


@given(cookie=st.text(), value=st.text(st.characters()))
def test_no_text_fits_by_chance(cookie: str, value: str) -> None:
    assert not sessions.csrf_fits(cookie.encode(errors="replace").decode(), value)


def test_over_tls_the_cookie_is_for_this_host_only() -> None:
    assert sessions.cookie_name(secure=True).startswith("__Host-")
    assert not sessions.cookie_name(secure=False).startswith("__")

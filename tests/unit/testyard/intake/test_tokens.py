# SPDX-License-Identifier: AGPL-3.0-or-later
"""API tokens."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from testyard.errors import RequestError
from testyard.index import index_engine
from testyard.intake import Identity, Scope, create_intake, tokens
from testyard.intake.recognise import recognise
from testyard.intake.schema import token


def make(memory: Engine, **more: object) -> tuple[str, str]:
    with memory.begin() as connection:
        return tokens.make(connection, **{"owner": "github/jane", "name": "script", **more})  # type: ignore[arg-type]


def identify(memory: Engine, text: str) -> Identity | None:
    with memory.connect() as connection:
        return tokens.identify(connection, text)


def test_a_token_says_who_it_is_and_what_it_may(memory: Engine) -> None:
    token_id, text = make(memory, groups=["github/testers"], scopes=[Scope.REQUEST, Scope.CANCEL])
    assert text.startswith(f"ty_{token_id}_")
    assert identify(memory, text) == Identity(
        "github/jane", "jane", ("github/testers",), frozenset((Scope.REQUEST, Scope.CANCEL)), token_id
    )


def test_the_secret_is_nowhere_and_never_twice(memory: Engine) -> None:
    texts = {make(memory)[1] for _ in range(20)}
    secrets = {text.split("_", 2)[2] for text in texts}
    assert len(secrets) == 20
    with memory.connect() as connection:
        rows = connection.execute(select(token)).all()
    assert {row.hash for row in rows} == {hashlib.sha256(secret.encode()).hexdigest() for secret in secrets}
    assert not any(secret in str(row) for row in rows for secret in secrets)


def test_what_is_wrong_expired_or_revoked_opens_nothing(memory: Engine) -> None:
    token_id, text = make(memory)
    other = make(memory)[1]
    swapped = f"ty_{token_id}_{other.split('_', 2)[2]}"
    wrong = [swapped, text[:-1], f"{text}x", text.upper(), "", "ty__", f"ty_{'0' * 16}_{'x' * 43}", text[3:]]
    assert [identify(memory, each) for each in wrong] == [None] * len(wrong)
    assert identify(memory, make(memory, expires=time.time() - 1)[1]) is None
    assert identify(memory, make(memory, expires=time.time() + 60)[1]) is not None
    with memory.begin() as connection:
        assert tokens.revoke(connection, token_id, owner="github/joe") is None
        assert tokens.revoke(connection, token_id, owner="github/jane") is not None
        assert tokens.revoke(connection, token_id) is None, "it was revoked before"
        assert tokens.revoke(connection, "x' OR 1=1") is None
    assert identify(memory, text) is None
    assert identify(memory, other) is not None


def test_its_use_is_noted_once_a_minute(memory: Engine) -> None:
    token_id, text = make(memory)

    def used() -> float | None:
        with memory.connect() as connection:
            return next(each.used for each in tokens.tokens_of(connection) if each.id == token_id)

    assert used() is None
    recognise(memory, memory, token=text)
    first = used()
    assert first is not None
    recognise(memory, memory, token=text)
    assert used() == first
    with memory.begin() as connection:
        connection.execute(update(token).values(used=first - 61))
    recognise(memory, memory, token=text)
    assert (used() or 0) >= first


def test_many_at_once_are_all_known(memory: Engine) -> None:
    text = make(memory)[1]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: identify(memory, text), range(40)))
    assert all(each is not None and each.owner == "github/jane" for each in found)


def test_lists_are_an_owners_or_all(memory: Engine) -> None:
    make(memory, name="one")
    make(memory, name="two", owner="operator/root")
    with memory.connect() as connection:
        assert [each.name for each in tokens.tokens_of(connection)] == ["two", "one"]
        assert [each.name for each in tokens.tokens_of(connection, "github/jane")] == ["one"]
        assert not tokens.tokens_of(connection, "github/joe")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("owner", "jane"),
        ("owner", "github/"),
        ("owner", "github/ja\nne"),
        ("owner", "github/" + "x" * 1000),
        ("name", " "),
        ("name", "x" * 101),
        ("name", "a\0b"),
        ("groups", ["testers"]),
        ("scopes", []),
    ],
)
def test_what_no_token_can_have_is_named(memory: Engine, field: str, wrong: object) -> None:
    with pytest.raises(RequestError) as caught:
        make(memory, **{field: wrong})
    assert caught.value.field == field


@pytest.fixture(scope="module")
def one() -> Engine:
    engine = index_engine("sqlite://", writer=True)
    create_intake(engine)
    return engine


@given(text=st.one_of(st.text(), st.from_regex(r"ty_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", fullmatch=True)))
def test_no_text_opens_by_chance(one: Engine, text: str) -> None:
    assert identify(one, text) is None

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets in a log: whole, cut by the pieces in which it comes, and those that only look like one."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from testyard.request import make_request
from testyard.settings import Broker, Database, Settings, Store
from worker.mask import Masker, secrets_of


def masked(secrets: list[str], pieces: list[bytes]) -> bytes:
    masker = Masker(secrets)
    return b"".join([*map(masker.feed, pieces), masker.rest()])


@given(
    st.lists(st.text("ab", min_size=1, max_size=6), max_size=4),
    st.lists(st.text("abc\n", max_size=6).map(str.encode), max_size=12),
)
def test_pieces_make_no_difference(secrets: list[str], pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    longest_first = sorted({secret.encode() for secret in secrets}, key=len, reverse=True)
    wanted = re.sub(b"|".join(map(re.escape, longest_first)), b"***", whole) if secrets else whole
    assert masked(secrets, pieces) == wanted


def test_every_cut_of_a_secret() -> None:
    secret = "bot:tøken-123"
    line = f"GET https://{secret}@host/\n".encode()
    for cut in range(len(line)):
        for second in range(cut, len(line)):
            pieces = [line[:cut], line[cut:second], line[second:]]
            assert masked([secret], pieces) == b"GET https://***@host/\n"


def test_a_whole_line_is_never_kept_back() -> None:
    masker = Masker(["progress.done"])
    assert masker.feed(b"progress\n") == b"progress\n"
    assert masker.feed(b"prog") == b""
    assert masker.feed(b"ress\r") == b"progress\r"
    assert masker.rest() == b""


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    data = bytes(range(256)) * 3
    assert masked(["no-such-secret"], [data[:100], data[100:]]) == data


@pytest.mark.parametrize(
    ("parameters", "secrets", "others"),
    [
        (
            {"ppas": ["bot:t0ken+=1@team/name"], "swiftuser": "x"},
            ["bot:t0ken+=1", "t0ken+=1", "t0ken%2B%3D1", base64.b64encode(b"bot:t0ken+=1").decode()],
            ["team/name", "team"],
        ),
        ({"env": ["MY_TOKEN=abcdef", "LANG=C.UTF-8", "DB_KEY=k1k2k3"]}, ["abcdef", "k1k2k3"], ["C.UTF-8"]),
        ({"env": ["db_password=two words, here"]}, ["two words, here"], ["two words"]),
        ({"env": ["PASSWORD=test"]}, [], ["test"]),  # too short: each log is full of it
        ({"env": ["EMPTY_SECRET="]}, [], [""]),
    ],
)
def test_what_is_secret_in_a_request(
    parameters: dict[str, object], secrets: list[str], others: list[str]
) -> None:
    found = secrets_of(make_request("demo", parameters), Settings())
    assert set(secrets) <= set(found)
    assert not set(others) & set(found)


def test_the_workers_own_passwords_are_secret() -> None:
    settings = Settings(
        broker=Broker(url=SecretStr("amqp://worker:br%2Foker-pw@host/")),
        store=Store(key=SecretStr("store-pw")),
        database=Database(url=SecretStr("postgresql+psycopg://t:data-pw@host/name")),
    )
    found = secrets_of(make_request("demo", {}), settings)
    assert {"br/oker-pw", "br%2Foker-pw", "store-pw", "data-pw"} <= set(found)
    assert "guest" not in secrets_of(make_request("demo", {}), Settings())

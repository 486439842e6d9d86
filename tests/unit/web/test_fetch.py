# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

import httpx
import pytest

from web.fetch import LogText, fetch_log

URL = "http://store.example/v1/AUTH_test/c/log.gz"


def ok(body: bytes, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, stream=httpx.ByteStream(body), headers=headers)


def fetched(
    answer: Callable[[httpx.Request], httpx.Response], *, limit: int = 1000, url: str = URL
) -> LogText:
    async def fetch() -> LogText:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await fetch_log(client, url, limit=limit)

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"one\ntwo\n"),
        gzip.compress(b"one\n") + gzip.compress(b"two\n") + b"\0\0",
        b"one\ntwo\n",
    ],
    ids=["gzip", "two members and padding", "unpacked on the way"],
)
@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "said"])
def test_a_log_is_unpacked(body: bytes, encoding: dict[str, str]) -> None:
    assert fetched(ok(body, **encoding)) == LogText("one\ntwo\n")


def test_a_large_log_is_cut_at_a_line() -> None:
    got = fetched(ok(gzip.compress(b"012345678\n" * 1_000_000)))
    assert got.cut
    assert got.text == "\n".join(["012345678"] * 100)


def test_a_log_of_just_the_limit_is_whole() -> None:
    got = fetched(ok(gzip.compress(b"x" * 1000)))
    assert (len(got.text), got.cut) == (1000, False)


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "holds no log"), (401, "does not let"), (503, "status 503"), (302, "status 302")],
)
def test_a_refusal_is_said(status: int, words: str) -> None:
    got = fetched(lambda _: httpx.Response(status))
    assert words in got.problem
    assert got.text == ""


def test_a_store_that_is_down_slow_or_broken_is_said() -> None:
    def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def slow(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    assert "cannot be reached" in fetched(down).problem
    assert "cannot be reached" in fetched(slow).problem
    assert "cannot be unpacked" in fetched(ok(b"\x1f\x8bnonsense")).problem


def test_without_an_address_nothing_is_asked() -> None:
    assert "no public address" in fetched(lambda _: httpx.Response(500), url="/c/log.gz").problem


def test_wrong_bytes_are_replaced() -> None:
    assert fetched(ok(gzip.compress(b"a\xffb"))).text == "a\ufffdb"

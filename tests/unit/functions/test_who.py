# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who asks, and from where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from functions.request.who import address_of, who_asks
from tests.asking import Asker
from testyard.errors import ForbiddenError, SettingsError
from testyard.index import index_engine
from testyard.intake import create_intake, sessions, tokens
from testyard.settings import Settings, load_settings


@pytest.fixture
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = index_engine(f"sqlite:///{tmp_path_factory.mktemp('who')}/m.db", writer=True)
    create_intake(engine)
    yield engine
    engine.dispose()


def client(memory: Engine, *, url: str = "http://t", peer: str = "127.0.0.1", **intake: object) -> Asker:
    async def tell(request: Request) -> JSONResponse:
        try:
            who = await run_in_threadpool(who_asks, request)
        except ForbiddenError as error:
            return JSONResponse({"login": error.login}, 401)
        return JSONResponse({"owner": who.owner, "address": address_of(request)})

    app = Starlette(routes=[Route("/", tell)])
    app.state.settings = Settings(site={"url": url}, intake=intake)  # type: ignore[arg-type]
    app.state.memory = app.state.reader = memory
    return Asker(app, peer=peer)


def text_of(memory: Engine) -> str:
    with memory.begin() as connection:
        return tokens.make(connection, owner="github/jane", name="x")[1]


def test_a_token_opens_as_documented_and_as_older_clients_send_it(memory: Engine) -> None:
    text, asks = text_of(memory), client(memory)
    for headers in (
        {"Authorization": f"Bearer {text}"},
        {"Authorization": f"bearer  {text}"},
        {"X-Api-Key": f"jane:{text}"},
        {"Cookie": f"X-Api-Key=jane:{text}"},
        {"Cookie": f"X-Api-Key=jane%3A{text}"},
    ):
        assert asks.get("/", headers=headers).json()["owner"] == "github/jane", headers
    assert asks.get("/").json()["owner"] == ""


def test_a_token_that_opens_nothing_is_no_visitor(memory: Engine) -> None:
    asks = client(memory)
    for value in ("Bearer x", "Bearer ", f"Bearer {text_of(memory)}x", "Bearer " + "x" * 9000):
        answer = asks.get("/", headers={"Authorization": value})
        assert (answer.status_code, answer.json()) == (401, {"login": True})


def test_a_browser_that_a_stranger_leads_here_brings_no_key(memory: Engine) -> None:
    cookie = {"Cookie": f"X-Api-Key=jane:{text_of(memory)}"}
    for told in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example"},  # as on plain http
        {"Referer": "http://evil.example/page"},
        {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Firefox/60.0"},
    ):
        answer = client(memory).get("/", headers={**cookie, **told})
        assert answer.json()["owner"] == "", told


def test_a_session_opens_by_the_cookie_that_is_right_for_the_address(memory: Engine) -> None:
    with memory.begin() as connection:
        cookie = sessions.begin(connection, owner="github/jane", login="jane")
    plain, secure = client(memory), client(memory, url="https://t")
    assert plain.get("/", headers={"Cookie": f"testyard={cookie}"}).json()["owner"] == "github/jane"
    assert secure.get("/", headers={"Cookie": f"testyard={cookie}"}).json()["owner"] == ""
    host = {"Cookie": f"__Host-testyard={cookie}"}
    assert secure.get("/", headers=host).json()["owner"] == "github/jane"
    assert plain.get("/", headers={"Cookie": "testyard=x"}).json()["owner"] == ""


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # nobody trusts it
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first was the client's own idea
        ("127.0.0.1", "198.51.100.1, 10.0.0.7", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1, <b>", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("testclient", "198.51.100.1", ""),  # no address
        # as AWS's load balancers tell it, by which the last part was added
        ("198.51.100.1, 203.0.113.9", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("chosen by whoever asks, 203.0.113.9", "", "203.0.113.9"),
        ("198.51.100.1, 10.0.0.7", "198.51.100.1, 10.0.0.7", "198.51.100.1"),
        ("198.51.100.1, chosen", "", ""),
        ("", "198.51.100.1", ""),
    ],
)
def test_only_trusted_proxies_say_for_whom_they_ask(
    memory: Engine, peer: str, told: str, address: str
) -> None:
    asks = client(memory, peer=peer, trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    headers = {"X-Forwarded-For": told} if told else {}
    assert asks.get("/", headers=headers).json()["address"] == address


def test_a_proxy_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTYARD_INTAKE__TRUSTED_PROXIES", '["localhost"]')
    with pytest.raises(SettingsError, match=r"(?s)trusted_proxies.*localhost is no address"):
        load_settings()

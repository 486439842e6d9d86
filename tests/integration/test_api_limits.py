# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one caller cannot take from the others: bodies that do not come, calls that are refused."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from functions.request import bodies
from functions.request.app import create_app
from tests.api import SITE, Api, api, api_settings
from tests.integration.asking import ASK, NOWHERE, ask, problem
from tests.servers import Rabbit
from testyard.index import create_tables
from testyard.intake import create_intake
from testyard.intake.audit import Action, deeds
from testyard.intake.schema import answered, bucket

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("path", "headers"), [("/api/v1/requests", JSON), ("/login/token", FORM)])
def test_bodies_that_do_not_come_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    """More idle connections than calls are worked on at a time; each ends by itself."""
    monkeypatch.setattr(bodies, "SECONDS", 3.0)
    app = create_app(api_settings(NOWHERE, f"sqlite:///{tmp_path}/i.db"))
    create_intake(app.state.memory)
    create_tables(app.state.memory)

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async def played() -> tuple[httpx.Response, list[httpx.Response]]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE)
            )
            slow = [
                asyncio.create_task(client.post(path, content=endless(), headers=headers)) for _ in range(200)
            ]
            await asyncio.sleep(0.5)
            assert not any(each.done() for each in slow)
            there = await client.post(path, content=b"{}", headers=headers)
            return there, list(await asyncio.gather(*slow))

    there, slow = asyncio.run(played())
    assert there.status_code in (401, 403), there.text
    assert {each.status_code for each in slow} == {408}
    assert {each.headers["Connection"] for each in slow} == {"close"}
    assert (app.state.calls, app.state.held) == (0, 0)


def test_a_page_s_body_has_the_limits_of_its_kind(tmp_path: Path) -> None:
    app = create_app(api_settings(NOWHERE, f"sqlite:///{tmp_path}/i.db"))
    create_intake(app.state.memory)
    client = TestClient(app, base_url=SITE)
    large = client.post("/request", content=b"x" * (256 * 1024 + 1), headers=FORM)
    wrong = client.post("/request", json={}, headers={"Accept": "application/json"})
    assert (large.status_code, wrong.status_code) == (413, 415)
    assert wrong.json()["type"] == "urn:testyard:problem:media-type"


@pytest.fixture
def yard(broker: Rabbit, tmp_path: Path) -> Iterator[Api]:
    rates = {"identity_burst": 5, "identity_per_minute": 0.01}
    with api(broker, f"sqlite:///{tmp_path}/i.db", rates=rates) as found:
        yield found


def test_calls_that_make_no_sense_count_and_are_noted(yard: Api) -> None:
    jane = yard.token("github/jane")
    secret = "hunter22"
    wrong: list[object] = [
        {"package": secret, "color": 1},
        {"package": "gzip", "release": secret},
        [],
        [{"package": "gzip", "readable-by": [secret], "arch": "x"}],
    ]
    for body in wrong:
        problem(ask(yard, jane, body, Idempotency_Key="k"), 422, "invalid")
    problem(yard.client.post("/api/v1/retry/nothing", headers=jane), 404, "missing")
    # before anything is read of what is sent, and before a key is taken
    limited = ask(yard, jane, {"color": 1}, Idempotency_Key="k")
    problem(limited, 429, "limit")
    with yard.memory.connect() as memory:
        lines = [deed for _, deed in deeds(memory, owner="github/jane")]
        assert memory.execute(answered.select()).all() == []
    assert [line.action for line in lines] == [Action.REFUSED] * 6
    reasons = [line.details["reason"] for line in lines]
    assert "invalid: color" in reasons
    assert "too many requests" in reasons[0]
    assert secret not in str(lines)


def test_a_list_larger_than_the_burst_is_taken_when_nothing_was_before(yard: Api) -> None:
    jane = yard.token("github/jane")
    response = ask(yard, jane, [{**ASK, "package": f"p{number}"} for number in range(9)])
    assert response.status_code == 202
    problem(ask(yard, jane), 429, "limit")


def test_what_is_no_address_has_no_bucket(yard: Api) -> None:
    """As where a load balancer's header stands for the client, written by whoever asks."""
    for number in range(3):
        client = TestClient(yard.rooms.intake, base_url=SITE, client=(f"chosen {number}, 192.0.2.7", 1))
        client.post("/api/v1/requests", json=ASK, headers=yard.token("github/jane"))
    with yard.memory.connect() as memory:
        keys = {row.key for row in memory.execute(bucket.select())}
    assert {key for key in keys if key.startswith("address")} == {"address/192.0.2.7"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/requests", "GET, HEAD, POST"),
        ("PATCH", "/api/v1/requests/8b2f5a1e-0000-4000-8000-000000000000", "DELETE, GET, HEAD"),
        ("PUT", "/api/v1/retry/x", "GET, HEAD, POST"),
        ("POST", "/api/v1/openapi.json", "GET, HEAD"),
        ("PUT", "/request.cgi", "GET, HEAD, POST"),
    ],
)
def test_allow_names_all_that_an_address_takes(yard: Api, method: str, path: str, allowed: str) -> None:
    response = yard.client.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)


def test_head_asks_for_nothing(yard: Api) -> None:
    bot = yard.token("operator/bot")
    address = "/request.cgi?release=noble&arch=amd64&package=gzip&trigger=gzip/1"
    assert yard.client.head(address, headers=bot).status_code in (200, 405)
    assert yard.client.get("/api/v1/requests").json()["requests"] == []


def test_logins_of_an_address_are_limited_and_a_provider_that_is_away_is_asked_once(
    yard: Api, tmp_path: Path
) -> None:
    asked = 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        logins = tmp_path / "logins.toml"
        logins.write_text(f'[old]\nkind = "openid2"\nurl = "http://127.0.0.1:{server.getsockname()[1]}/"\n')

        def answer() -> None:
            nonlocal asked
            while not over.is_set():
                with suppress(TimeoutError):
                    server.accept()[0].close()
                    asked += 1

        over = threading.Event()
        away = threading.Thread(target=answer)
        away.start()
        settings = yard.settings.model_copy(
            update={"intake": yard.settings.intake.model_copy(update={"logins": logins})}
        )
        client = TestClient(create_app(settings), base_url=SITE, client=("192.0.2.7", 1))
        codes = [client.get("/login/old").status_code]
        while codes[-1] == 503 and len(codes) < 400:  # one a second is taken in between
            codes.append(client.get("/login/old").status_code)
        over.set()
        away.join()
    assert len(codes) > 60
    assert codes[-1] == 429
    assert asked == 1
    assert (
        TestClient(yard.rooms.intake, base_url=SITE, client=("192.0.2.8", 1)).get("/login").status_code == 200
    )

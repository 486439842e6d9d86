# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API keeps from those whom it does not concern, and what stands in nobody's way."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from starlette.testclient import TestClient

from tests.api import Api, api
from tests.conftest import NewIndex
from tests.integration.asking import ask, bodies, ids, problem, store_run, tell
from tests.servers import Rabbit
from testyard.event import EventKind
from testyard.intake import Scope, sessions
from testyard.intake.schema import token
from testyard.request import parse_body
from web.app import create_app as create_site

HUSH = {"package": "hush", "arch": ["amd64"], "readable-by": ["jane"], "triggers": ["gzip/1"]}
SECRET = {"package": "gzip", "arch": ["amd64"], "triggers": ["gzip/1"], "env": ["API_TOKEN=hunter22"]}
PEOPLE = '[[rule]]\nwho = "logged-in"\nmay = ["request", "private", "variables", "force"]\n'


@pytest.fixture
def yard(broker: Rabbit, new_index: NewIndex, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text(PEOPLE)
    with api(broker, new_index(), policy=policy) as found:
        yield found


def cookie(yard: Api, owner: str) -> dict[str, str]:
    with yard.memory.begin() as connection:
        value = sessions.begin(connection, owner=owner, login=owner.partition("/")[2])
    return {"Cookie": f"testyard={value}"}


@pytest.mark.parametrize("stored", [False, True])
def test_secrets_are_used_again_by_their_owner_only_and_shown_to_nobody(
    yard: Api, broker: Rabbit, stored: bool
) -> None:
    jane, john = yard.token("github/jane"), yard.token("github/john")
    reference = ids(ask(yard, jane, SECRET))[0]
    if stored:
        path = store_run(yard, reference, exit_code=4)
        reference = str(path.run_id)
    bodies(broker)
    refused = problem(yard.client.post(f"/api/v1/retry/{reference}", headers=john), 422, "invalid")
    assert "it had secrets of whoever asked" in refused["detail"]
    page = yard.client.get(f"/api/v1/retry/{reference}", headers=cookie(yard, "github/john"))
    assert (page.status_code, "it had secrets" in page.text, "hunter22" in page.text) == (400, True, False)
    assert bodies(broker) == []
    page = yard.client.get(f"/api/v1/retry/{reference}", headers=cookie(yard, "github/jane"))
    assert (page.status_code, "API_TOKEN=***" in page.text, "hunter22" in page.text) == (200, True, False)
    again = yard.client.post(f"/api/v1/retry/{reference}", headers=jane)
    if stored:
        assert again.status_code == 202, again.text
        (body,) = bodies(broker)
        assert parse_body(body).env == ("API_TOKEN=hunter22",)
    else:
        assert (again.status_code, ids(again)) == (200, [reference])


def test_a_name_does_not_tell_that_something_private_has_it(yard: Api) -> None:
    jane = yard.token("github/jane")
    for arch in ("amd64", "arm64"):
        ask(yard, jane, {**HUSH, "arch": [arch]})
    ask(yard, jane, {"package": "loud"})

    def listed(query: str, who: dict[str, str]) -> tuple[int, bool]:
        page = yard.client.get(f"/api/v1/requests?limit=1&{query}", headers=who).json()
        return len(page["requests"]), page["next"] is not None

    for told in (False, True):
        if told:
            for item in yard.client.get("/api/v1/requests").json()["requests"]:
                name = "private-test" if item["private"] else "loud"
                parameters = {} if item["private"] else {"requester": "jane"}
                tell(yard, EventKind.ACCEPTED, item["id"], name, parameters=parameters)
        for who in ({}, yard.token("github/john")):
            assert listed("package=hush", who) == listed("package=nosuch", who) == (0, False)
            assert listed("package=private-test", who) == (0, False)
            assert listed("package=loud", who) == (1, True)
            assert listed("requester=jane", who) == (1, True)
            page = yard.client.get("/api/v1/requests?requester=jane&limit=2", headers=who).json()
            assert (len(page["requests"]), page["next"]) == (2, None)
    assert listed("package=private-test", yard.token("operator/root")) == (1, True)


def test_what_is_private_needs_a_token_for_it(yard: Api) -> None:
    (request_id,) = ids(ask(yard, yard.token("github/jane"), HUSH))
    address = f"/api/v1/requests/{request_id}"
    without, operator = yard.token("github/jane", Scope.REQUEST), yard.token("operator/root", Scope.REQUEST)
    for who in (without, operator):
        assert yard.client.get(address, headers=who).json()["package"] == "private-test"
        assert yard.client.get("/api/v1/requests?package=hush", headers=who).json()["requests"] == []
        problem(yard.client.post(f"/api/v1/retry/{request_id}", headers=who), 404, "missing")
    for mine in (yard.token("github/jane", Scope.READ_PRIVATE), cookie(yard, "github/jane")):
        assert yard.client.get(address, headers=mine).json()["package"] == "hush"
        assert len(yard.client.get("/api/v1/requests?package=hush", headers=mine).json()["requests"]) == 1


def test_a_request_is_not_missing_because_a_database_is(yard: Api) -> None:
    intake = yard.settings.intake.model_copy(
        update={"database": SecretStr("postgresql+psycopg://x:y@127.0.0.1:1/none")}
    )
    with TestClient(create_site(yard.settings.model_copy(update={"intake": intake}))) as site:
        problem(site.get(f"/api/v1/requests/{uuid.uuid4()}"), 503, "away")
        problem(site.get("/api/v1/requests"), 503, "away")


def test_who_only_reads_waits_for_no_writer(broker: Rabbit, sqlite_yard: Api) -> None:
    yard = sqlite_yard
    known = yard.token("github/jane")
    assert yard.client.get("/api/v1/requests", headers=known).status_code == 200
    with yard.memory.connect() as connection:
        used = connection.execute(token.select()).one().used
        assert used == pytest.approx(time.time(), abs=10), "its first use is noted"
    with yard.memory.begin() as writer:  # the lock of all who write
        writer.execute(update(token).values(name="held"))
        began = time.monotonic()
        for who in ({"Cookie": "testyard=x"}, {"Cookie": f"testyard={'x' * 43}"}, known):
            assert yard.client.get("/api/v1/requests", headers=who).status_code == 200
            # of the function, too, whoever sends what opens nothing
            assert yard.client.get("/request", headers=who).status_code in (200, 403)
        assert time.monotonic() - began < 5


@pytest.fixture
def sqlite_yard(broker: Rabbit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("yard")
    with api(broker, f"sqlite:///{folder}/i.db") as found:
        yield found


def test_a_reference_is_text(yard: Api) -> None:
    for text in ("%00", "20260101_101010_abcde%00", "a%0Ab", "%ED%A0%80"):
        problem(yard.client.post(f"/api/v1/retry/{text}", headers=yard.token("github/jane")), 404, "missing")

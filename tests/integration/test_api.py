# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API as scripts use it, with real RabbitMQ and Swift, on each database."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient

from tests.api import SITE, Api, api
from tests.conftest import NewIndex
from tests.integration.asking import ASK, NOWHERE, ask, bodies, ids, problem, store_run, tell
from tests.integration.brokers import NOBLE, channel_to
from tests.servers import Rabbit, Swift
from testyard.adapters.amqp import STATUS_QUEUE
from testyard.adapters.swift import SwiftStore
from testyard.arrival import Arrival
from testyard.cancel import cancelled
from testyard.event import EventKind
from testyard.index.arrivals import event_of, note_arrival
from testyard.index.write import apply_event
from testyard.intake import Scope
from testyard.intake.audit import Action, deeds
from testyard.intake.schema import metadata
from testyard.openapi.models import LARGEST_BODY
from testyard.removal import all_removals
from testyard.request import parse_body
from testyard.run import Phase


@pytest.fixture
def yard(broker: Rabbit, store_node: Swift, new_index: NewIndex) -> Iterator[Api]:
    with api(broker, new_index(), store_node) as found:
        yield found


@pytest.fixture
def bot(yard: Api) -> dict[str, str]:
    return yard.token()


def test_one_request_from_its_acceptance_to_its_result(
    yard: Api, bot: dict[str, str], broker: Rabbit
) -> None:
    response = ask(yard, bot)
    assert response.status_code == 202
    (receipt,) = response.json()["requests"]
    assert receipt["standing"] == "accepted"
    assert (receipt["release"], receipt["arch"], receipt["queue"]) == ("noble", "amd64", str(NOBLE))
    (body,) = bodies(broker)
    assert parse_body(body).uuid == receipt["id"]
    assert parse_body(body).requester == "bot"
    # at once, without an event
    status = yard.client.get(receipt["status"]).json()
    assert (status["state"], status["position"], status["attempt"]) == ("queued", 1, 0)
    assert (status["package"], status["triggers"], status["requester"]) == ("gzip", ["gzip/1.12-1"], "bot")
    assert [item["id"] for item in yard.client.get("/api/v1/requests").json()["requests"]] == [receipt["id"]]
    tell(yard, EventKind.ACCEPTED, receipt["id"], parameters=dict(parse_body(body).parameters))
    assert yard.client.get(receipt["status"]).json()["position"] == 1
    tell(yard, EventKind.TAKEN, receipt["id"], worker="w")
    tell(yard, EventKind.PHASE, receipt["id"], phase=str(Phase.TEST), started=1.8e9, test="smoke")
    status = yard.client.get(receipt["status"]).json()
    assert (status["state"], status["attempt"], status["position"]) == ("running", 1, None)
    assert (status["stage"]["name"], status["stage"]["test"]) == ("test", "smoke")
    assert status["log"]["events"] == f"{SITE}/requests/{receipt['id']}/log.events"
    again = ask(yard, bot)
    assert (again.status_code, again.json()["requests"][0]["standing"]) == (200, "already running")
    path = store_run(yard, receipt["id"])
    status = yard.client.get(receipt["status"]).json()
    assert (status["state"], status["result"]["outcome"], status["result"]["exit_code"]) == (
        "done",
        "pass",
        0,
    )
    assert status["result"]["path"] == str(path)
    again = ask(yard, bot)
    assert again.json()["requests"][0]["standing"] == "already passed"
    assert again.json()["requests"][0]["run"] == str(path)
    forced = ask(yard, bot, {**ASK, "force": True})
    assert (forced.status_code, forced.json()["requests"][0]["standing"]) == (202, "accepted")
    one_test = ask(yard, bot, {**ASK, "testname": "smoke"})
    assert one_test.json()["requests"][0]["standing"] == "accepted"


def test_several_architectures_and_several_requests(yard: Api, bot: dict[str, str]) -> None:
    response = ask(yard, bot, [{"package": "gzip"}, {"package": "bzip2", "arch": ["arm64", "arm64"]}])
    found = [(item["package"], item["arch"]) for item in response.json()["requests"]]
    assert found == [("gzip", "amd64"), ("gzip", "arm64"), ("bzip2", "arm64")]
    assert len(set(ids(response))) == 3


def test_all_or_none(yard: Api, bot: dict[str, str], broker: Rabbit) -> None:
    wrong = [ASK, {"package": "bzip2", "arch": ["amd64", "sparc"]}]
    found = problem(ask(yard, bot, wrong), 422, "invalid")
    assert found["errors"][0]["field"] == "requests[1].arch"
    assert "amd64, arm64" in found["errors"][0]["problem"]
    wrong = [{"package": "gzip"}, {"package": "bzip2", "triggers": ["migration-reference/0", "gzip/1"]}]
    found = problem(ask(yard, bot, wrong), 422, "invalid")
    assert found["errors"][0]["field"] == "requests[1].triggers"  # of the item, not of its architecture
    assert bodies(broker) == []
    assert yard.client.get("/api/v1/requests").json()["requests"] == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["package"]),
        ([], ["requests"]),
        ([ASK] * 1001, ["requests"]),
        ("gzip", ["body"]),
        ([1, ASK, None], ["requests[0]", "requests[2]"]),
        ({**ASK, "triggers": "gzip/1", "arch": "amd64"}, ["arch", "triggers"]),
        ({**ASK, "all-proposed": 1}, ["all-proposed"]),
        ({**ASK, "requester": "mallory"}, ["requester"]),
        ({**ASK, "uuid": str(uuid.uuid4())}, ["uuid"]),
        ({**ASK, "arch": []}, ["arch"]),
        ({**ASK, "release": "sid"}, ["release"]),
        ({**ASK, "context": "huge"}, ["context"]),
        ({**ASK, "env": ["1=2"]}, ["env"]),
        ({**ASK, "package": "../etc"}, ["package"]),
        ({**ASK, "test-git": "file:///etc"}, ["test-git"]),
        ({**ASK, "ppas": ["u:secret@jane/x"]}, ["ppas"]),
    ],
)
def test_wrong_fields_are_named(yard: Api, bot: dict[str, str], body: Any, fields: list[str]) -> None:
    found = problem(ask(yard, bot, body), 422, "invalid")
    assert [error["field"] for error in found["errors"]] == fields
    assert "secret" not in json.dumps(found)


def test_what_is_no_call(yard: Api, bot: dict[str, str]) -> None:
    def send(content: bytes, kind: str = "application/json", path: str = "requests") -> Response:
        return yard.client.post(f"/api/v1/{path}", content=content, headers={**bot, "Content-Type": kind})

    for text in (b"", b"{", b"\xff", b"NaN", b"[" * 60000, b'"\\ud800"', b"9" * 5000):
        problem(send(text), 400, "malformed")
    problem(send(b"{}", "text/plain"), 415, "media-type")
    problem(send(b" " * (LARGEST_BODY + 1)), 413, "too-large")
    problem(send(b"{}", path="nothing"), 404, "missing")
    allowed = yard.client.put("/api/v1/retry/x", headers=bot)
    problem(allowed, 405, "method")
    assert "POST" in allowed.headers["Allow"]


def test_who_asks_must_be_known_and_allowed(yard: Api) -> None:
    unknown = ask(yard, {})
    problem(unknown, 401, "login")
    assert unknown.headers["WWW-Authenticate"].startswith("Bearer")
    problem(ask(yard, {"Authorization": "Bearer ty_0123456789abcdef_x"}), 401, "login")
    problem(ask(yard, yard.token("github/jane", Scope.CANCEL)), 403, "forbidden")
    assert yard.client.get("/api/v1/requests").json()["requests"] == []
    reading = yard.client.get("/api/v1/requests", headers={"Authorization": "Bearer x"})
    assert reading.status_code == 401


def test_too_much(broker: Rabbit, new_index: NewIndex) -> None:
    with api(broker, new_index(), rates={"identity_burst": 2, "identity_per_minute": 1}) as yard:
        jane = yard.token("github/jane")
        assert ask(yard, jane, {"package": "gzip"}).status_code == 202
        response = ask(yard, jane, {"package": "gzip"})
        problem(response, 429, "limit")
        assert int(response.headers["Retry-After"]) >= 1


def test_the_broker_is_away(broker: Rabbit, new_index: NewIndex) -> None:
    with api(broker, new_index(), broker_url=NOWHERE) as yard:
        response = ask(yard, yard.token())
        problem(response, 503, "away")
        assert int(response.headers["Retry-After"]) >= 1
        assert yard.client.get("/api/v1/requests").json()["requests"] == []


def test_cancel(yard: Api, store_node: Swift) -> None:
    jane, john = yard.token("github/jane"), yard.token("github/john")
    waits, runs = ids(ask(yard, jane, {**ASK, "package": "bzip2"}))[0], ids(ask(yard, jane))[0]
    tell(yard, EventKind.TAKEN, runs, worker="w")
    problem(yard.client.delete(f"/api/v1/requests/{waits}", headers=john), 403, "forbidden")
    problem(yard.client.delete(f"/api/v1/requests/{waits}"), 401, "login")
    problem(yard.client.delete(f"/api/v1/requests/{uuid.uuid4()}", headers=jane), 404, "missing")
    problem(yard.client.delete("/api/v1/requests/x", headers=jane), 404, "missing")
    problem(yard.client.delete(f"/api/v1/requests/{waits}?reason=%0A", headers=jane), 422, "invalid")
    done = yard.client.delete(f"/api/v1/requests/{waits}?reason=typo", headers=jane)
    assert (done.status_code, done.json()) == (202, {"id": waits, "state": "queued", "reason": "typo"})
    done = yard.client.delete(f"/api/v1/requests/{runs}", headers=yard.token())
    assert done.json() == {"id": runs, "state": "running", "reason": "by bot"}
    again = yard.client.delete(f"/api/v1/requests/{runs}?reason=other", headers=yard.token())
    assert (again.status_code, again.json()) == (202, done.json()), "it is on its way already"
    with SwiftStore(yard.settings.store) as store:
        assert (cancelled(store, waits), cancelled(store, runs)) == ("typo", "by bot")
    with yard.memory.connect() as connection:
        assert [deed.owner for _, deed in deeds(connection, actions=[Action.CANCELLED])] == [
            "operator/bot",
            "github/jane",
        ]
    tell(yard, EventKind.CANCELLED, waits, reason="typo")
    problem(yard.client.delete(f"/api/v1/requests/{waits}", headers=jane), 409, "conflict")


def test_cancel_what_came_by_amqp_without_an_id(yard: Api, bot: dict[str, str]) -> None:
    """It is shown under a provisional one, until a worker chooses another."""
    arrivals = [
        Arrival(str(NOBLE), f'{name}\n{{"triggers": ["gzip/1"]}}'.encode()) for name in ("one", "two")
    ]
    shown = []
    with yard.memory.begin() as connection:
        for arrived in arrivals:
            event = event_of(arrived, now=time.time())
            assert event is not None
            apply_event(connection, event)
            note_arrival(connection, arrived, event)
            shown.append(event.request_id)
    real = str(uuid.uuid4())
    tell(yard, EventKind.TAKEN, real, "two", worker="w", digest=arrivals[1].digest, attempt=1)
    waits = yard.client.delete(f"/api/v1/requests/{shown[0]}?reason=old", headers=bot)
    assert (waits.status_code, waits.json()["id"], waits.json()["state"]) == (202, shown[0], "queued")
    runs = yard.client.delete(f"/api/v1/requests/{shown[1]}?reason=old", headers=bot)
    assert (runs.status_code, runs.json()["id"], runs.json()["state"]) == (202, real, "running")
    with SwiftStore(yard.settings.store) as store:
        assert cancelled(store, real) == "old"
        notes = [note for note in all_removals(store) if note.request_id == shown[0]]
        assert [note.digest for note in notes] == [arrivals[0].digest]
    with yard.memory.connect() as connection:
        told = {deed.request_id for _, deed in deeds(connection, actions=[Action.CANCELLED])}
    assert told == {shown[0], real}


def test_why_a_private_one_is_cancelled_is_for_its_reader_only(yard: Api, broker: Rabbit) -> None:
    jane = yard.token("github/jane")
    request_id = ids(ask(yard, jane, {**ASK, "package": "hush", "readable-by": ["jane"]}))[0]
    with channel_to(broker.url) as channel:
        channel.queue_purge(STATUS_QUEUE)
    done = yard.client.delete(f"/api/v1/requests/{request_id}?reason=embargo+broken", headers=jane)
    assert done.json()["reason"] == "embargo broken"
    with channel_to(broker.url) as channel:
        told = channel.basic_get(STATUS_QUEUE, auto_ack=True)[2]
    assert told is not None
    assert request_id in told.decode()
    assert "embargo" not in told.decode()
    with yard.memory.connect() as connection:
        ((_, line),) = deeds(connection, actions=[Action.CANCELLED])
    assert (line.request_id, line.details) == (request_id, {})


def test_ask_again(yard: Api, bot: dict[str, str], broker: Rabbit) -> None:
    first = ids(ask(yard, bot, {**ASK, "env": ["A=b"]}))[0]
    waiting = yard.client.post(f"/api/v1/retry/{first}", headers=bot)
    assert (waiting.status_code, ids(waiting)) == (200, [first])
    tell(yard, EventKind.ACCEPTED, first)
    path = store_run(yard, first, exit_code=4)
    for reference in (first, str(path.run_id), str(path.run_id).removesuffix("@")):
        bodies(broker)
        again = yard.client.post(f"/api/v1/retry/{reference}", headers=bot)
        assert again.status_code == 202, again.text
        (body,) = bodies(broker)
        assert parse_body(body).env == ("A=b",)
        tell(yard, EventKind.CANCELLED, ids(again)[0], reason="")
    problem(yard.client.post("/api/v1/retry/20260101_101010_zzzzz@", headers=bot), 404, "missing")
    problem(yard.client.post(f"/api/v1/retry/{first}"), 401, "login")


def test_a_private_request_shows_nothing_to_others(yard: Api, broker: Rabbit) -> None:
    jane, john = yard.token("github/jane"), yard.token("github/john")
    private = {"package": "hush", "arch": ["amd64"], "readable-by": ["jane"], "env": ["A=whisper"]}
    (request_id,) = ids(ask(yard, jane, private))
    for told in (False, True):
        if told:
            tell(yard, EventKind.ACCEPTED, request_id, "private-test")
        for who in (john, {}):
            shown = yard.client.get(f"/api/v1/requests/{request_id}", headers=who)
            listed = yard.client.get("/api/v1/requests", headers=who)
            assert shown.json()["private"]
            for text in (shown.text, listed.text):
                assert request_id in text
                assert not any(word in text for word in ("hush", "whisper", "jane"))
            for name in ("package=hush", "requester=jane", "package=private-test"):
                assert request_id not in yard.client.get(f"/api/v1/requests?{name}", headers=who).text
        own = yard.client.get(f"/api/v1/requests/{request_id}", headers=jane).json()
        assert (own["package"], own["parameters"]["env"], own["private"]) == ("hush", ["A=whisper"], True)
        listed = yard.client.get("/api/v1/requests", headers=jane).json()["requests"]
        assert listed[0]["package"] == "hush"
    refused = problem(yard.client.delete(f"/api/v1/requests/{request_id}", headers=john), 403, "forbidden")
    assert "hush" not in json.dumps(refused)
    problem(yard.client.post(f"/api/v1/retry/{request_id}", headers=john), 404, "missing")


def test_the_list_page_by_page(yard: Api, bot: dict[str, str]) -> None:
    made = [ids(ask(yard, bot, {"package": f"p{number}", "arch": ["amd64"]}))[0] for number in range(7)]
    for request_id in made[:4]:  # the others are not in the index yet
        tell(yard, EventKind.ACCEPTED, request_id)
    found, address = [], "/api/v1/requests?limit=2"
    while address:
        page = yard.client.get(address).json()
        found += [item["id"] for item in page["requests"]]
        address = page["next"]
    assert sorted(found) == sorted(made)
    assert found == [*made[3::-1], *made[:3:-1]]  # the first four were told of later


def test_the_list_filtered(yard: Api, bot: dict[str, str]) -> None:
    first, second = ids(ask(yard, bot, {"package": "gzip"}))
    (third,) = ids(ask(yard, yard.token("github/jane"), {"package": "bzip2", "arch": ["amd64"]}))
    for told in (False, True):
        if told:
            tell(yard, EventKind.TAKEN, first, worker="w", parameters={"requester": "bot"})

        def listed(query: str) -> set[str]:
            response = yard.client.get(f"/api/v1/requests?{query}")
            assert response.status_code == 200, response.text
            return {item["id"] for item in response.json()["requests"]}

        assert listed("package=gzip") == {first, second}
        assert listed("arch=amd64&release=noble") == {first, third}
        assert listed("arch=sparc") == set()
        assert listed("requester=bot") == {first, second}
        assert listed("requester=jane&state=queued") == {third}
        assert listed("state=running") == ({first} if told else set())
    for query in (
        "state=x",
        "limit=0",
        "limit=x",
        "before=x",
        "color=red",
        "package=",
        "package=a&package=b",
    ):
        problem(yard.client.get(f"/api/v1/requests?{query}"), 422, "invalid")


def test_reading_without_the_intake_s_tables(broker: Rabbit, new_index: NewIndex) -> None:
    with api(broker, new_index()) as yard:
        for _ in range(10):  # the function's background makes them, once, and may be about to
            with yard.memory.begin() as connection:
                metadata.drop_all(connection)
            time.sleep(0.1)
        assert yard.client.get("/api/v1/requests").json() == {"requests": [], "next": None}
        problem(yard.client.get(f"/api/v1/requests/{uuid.uuid4()}"), 404, "missing")
        problem(ask(yard, {"Authorization": f"Bearer ty_{'0' * 16}_{'x' * 43}"}), 503, "away")


def test_both_rooms_serve_the_document(yard: Api) -> None:
    with TestClient(yard.rooms.site) as site:
        theirs = site.get("/api/v1/openapi.json").json()
    ours = yard.client.get("/api/v1/openapi.json").json()
    assert ours == theirs
    assert ours["openapi"] == "3.1.0"
    assert ours["paths"]["/api/v1/requests"]["get"]["servers"] == [{"url": SITE}]
    assert ours["components"]["securitySchemes"]["session"]["name"] == "testyard"  # by http

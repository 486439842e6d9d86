# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rights that Launchpad knows of, asked of a server that answers in the forms of its web service.

The forms are those of Launchpad's published description of its API; the real service was not asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from testyard.adapters.outside import Answer
from testyard.admission import Launchpad, Rates
from testyard.errors import LimitError, OutsideError
from testyard.index.engine import index_engine
from testyard.intake import Identity, create_intake, intake_engine
from testyard.intake.gate import Gate
from testyard.intake.launchpad import NO_SECONDS, STALE_SECONDS, YES_SECONDS, LaunchpadKnowledge
from testyard.intake.policy import Question, Right
from testyard.intake.policyfile import parse_policy
from testyard.intake.schema import fact
from testyard.settings import Database, Intake, Settings

JANE = Identity("launchpad/jane", "jane")
EVE = Identity("launchpad/eve", "eve")


@dataclass
class Service:
    """A web service; ``status`` makes it fail. Names of teams are told ``page`` at a time."""

    components: dict[str, str] = field(default_factory=lambda: {"gzip": "main", "hello": "universe"})
    uploaders: set[tuple[str, str]] = field(default_factory=lambda: {("jane", "main")})
    teams: dict[str, list[str]] = field(default_factory=dict)
    status: int = 0
    body: bytes = b""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, Any]:
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        place = unquote(parts.path).removeprefix("/devel")
        if place.endswith("/super_teams"):
            return self._super_teams(place.split("/")[1].removeprefix("~"), query)
        if place != "/ubuntu/+archive/primary" or query.get("distro_series", self.url + "/ubuntu/noble") != (
            f"{self.url}/ubuntu/noble"
        ):
            return 404, "Object: <LaunchpadRootUrlData>, name: 'x'"
        if query["ws.op"] == "getPublishedSources":
            assert (query["exact_match"], query["status"]) == ("true", "Published")
            component = self.components.get(query["source_name"])
            entries = [{"component_name": component, "pocket": "Release"}] if component else []
            return 200, {"start": 0, "total_size": len(entries), "entries": entries}
        assert query["ws.op"] == "checkUpload"
        assert (query["pocket"], query["distroseries"]) == ("Proposed", f"{self.url}/ubuntu/noble")
        person = query["person"].removeprefix(f"{self.url}/~")
        if (person, query["component"]) in self.uploaders:
            return 200, True
        return 403, "The signer of this package has no upload rights to this distribution's primary archive."

    def _super_teams(self, person: str, query: dict[str, str]) -> tuple[int, Any]:
        if person not in self.teams:
            return 404, f"Object: <Root>, name: '~{person}'"
        start, size = int(query["ws.start"]), min(int(query["ws.size"]), 75)
        names = self.teams[person]
        page: dict[str, Any] = {
            "start": start,
            "total_size": len(names),
            "entries": [{"name": name, "is_team": True} for name in names[start : start + size]],
        }
        if start + size < len(names):
            page["next_collection_link"] = f"{self.url}/~{person}/super_teams?ws.start={start + size}"
        return 200, page


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, answer = (found.status, None) if found.status else found.answer(self.path)
            body = found.body or (answer.encode() if isinstance(answer, str) else json.dumps(answer).encode())
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/devel"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        server.shutdown()


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Engine]:
    engine = index_engine(f"sqlite:///{tmp_path}/intake.db", writer=True)
    create_intake(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def knowledge(service: Service, memory: Engine, clock: Clock) -> LaunchpadKnowledge:
    return LaunchpadKnowledge(Launchpad(url=service.url), memory, clock=clock)


def uploads(package: str, *triggers: str, release: str = "noble") -> Question:
    return Question(Right.REQUEST, package, "ubuntu", release, triggers)


def test_upload_rights_to_the_package_or_a_trigger(knowledge: LaunchpadKnowledge) -> None:
    assert knowledge.uploads(JANE, uploads("gzip"))
    assert not knowledge.uploads(JANE, uploads("hello"))
    assert knowledge.uploads(JANE, uploads("hello", "nowhere", "gzip"))
    assert not knowledge.uploads(EVE, uploads("hello", "gzip"))
    assert not knowledge.uploads(JANE, uploads("gzip", release="nosuch"))


def test_who_is_none_of_launchpads_is_not_asked_for(knowledge: LaunchpadKnowledge, service: Service) -> None:
    for who in ("github/jane", "launchpad/../x", "launchpad/Jane", "launchpad/", "operator/jane"):
        assert not knowledge.uploads(Identity(who, "jane"), uploads("gzip"))
        assert not knowledge.member(Identity(who, "jane"), "launchpad/core")
    assert not knowledge.member(JANE, "github/core")
    assert service.asked == []


def test_teams_also_on_later_pages(knowledge: LaunchpadKnowledge, service: Service) -> None:
    service.teams["jane"] = [f"team-{number}" for number in range(200)]
    assert knowledge.member(JANE, "launchpad/team-0")
    assert knowledge.member(JANE, "launchpad/team-199")
    assert not knowledge.member(JANE, "launchpad/team-200")
    assert not knowledge.member(EVE, "launchpad/team-0")


def test_yes_is_kept_for_3_hours_and_no_for_5_minutes(
    knowledge: LaunchpadKnowledge, service: Service, clock: Clock
) -> None:
    def asked() -> int:
        before = len(service.asked)
        answers = knowledge.uploads(JANE, uploads("gzip")), knowledge.uploads(JANE, uploads("hello"))
        assert answers == (True, False)
        return len(service.asked) - before

    assert [asked(), asked()] == [4, 0]
    clock.now += NO_SECONDS
    assert [asked(), asked()] == [2, 0]
    clock.now += YES_SECONDS
    assert [asked(), asked()] == [4, 0]
    service.uploaders.clear()
    clock.now += YES_SECONDS
    assert not knowledge.uploads(JANE, uploads("gzip"))


@pytest.mark.parametrize("failure", ["status", "no JSON", "no entries", "no server"])
def test_while_it_does_not_answer_a_yes_lasts_for_a_day(
    knowledge: LaunchpadKnowledge, service: Service, clock: Clock, memory: Engine, failure: str
) -> None:
    assert knowledge.uploads(JANE, uploads("gzip"))
    if failure == "status":
        service.status = 503
    elif failure == "no server":
        nowhere = Launchpad(url="http://127.0.0.1:1/devel")
        knowledge = LaunchpadKnowledge(nowhere, memory, clock=clock)
    else:
        service.body = b"<html>" if failure == "no JSON" else b"{}"
    clock.now += STALE_SECONDS - 1
    assert knowledge.uploads(JANE, uploads("gzip"))
    for question in (uploads("hello"), uploads("hello", "other")):
        with pytest.raises(OutsideError, match="Launchpad does not answer, so it is not known") as told:
            knowledge.uploads(JANE, question)
        assert told.value.resolution == "Try again in some minutes."
    clock.now += 2
    with pytest.raises(OutsideError):
        knowledge.uploads(JANE, uploads("gzip"))


def test_what_is_old_is_forgotten(knowledge: LaunchpadKnowledge, memory: Engine, clock: Clock) -> None:
    with memory.begin() as connection:
        connection.execute(fact.insert().values(key="login/1", value={}, expires=clock.now - 1))
    for package in ("gzip", "hello"):
        knowledge.uploads(JANE, uploads(package))
        clock.now += STALE_SECONDS + 1
    knowledge.uploads(JANE, uploads("other"))
    with memory.connect() as connection:
        keys = set(connection.execute(select(fact.c.key)).scalars())
    # what is not ours stays
    assert keys == {"login/1", "launchpad/upload/noble/other/jane"}


def test_ubuntus_rules(knowledge: LaunchpadKnowledge, service: Service) -> None:
    policy = parse_policy(
        '[[rule]]\nwho = ["@launchpad/autopkgtest-requestors", "uploader"]\nmay = "request"\n'
    )
    service.teams["eve"] = ["autopkgtest-requestors"]
    policy.check(JANE, uploads("gzip"), knowledge)
    policy.check(EVE, uploads("gzip"), knowledge)


def test_while_it_is_away_it_is_asked_once_in_half_a_minute(
    service: Service, memory: Engine, clock: Clock
) -> None:
    asked: list[str] = []

    def silent(url: str, **_: object) -> Answer:
        asked.append(url)
        raise OutsideError("took longer than 10 s")

    knowledge = LaunchpadKnowledge(Launchpad(url=service.url), memory, asks=silent, clock=clock)
    for who in (JANE, EVE):
        for package in ("gzip", "hello"):
            with pytest.raises(OutsideError, match="Launchpad does not answer"):
                knowledge.uploads(who, uploads(package))
        with pytest.raises(OutsideError, match="Launchpad does not answer"):
            knowledge.member(who, "launchpad/core")
    assert len(asked) == 1
    clock.now += 31
    knowledge = LaunchpadKnowledge(Launchpad(url=service.url), memory, clock=clock)
    assert knowledge.uploads(JANE, uploads("gzip"))


def test_a_question_that_it_fails_at_hinders_no_other(
    knowledge: LaunchpadKnowledge, service: Service, clock: Clock
) -> None:
    service.status = 503
    for _ in range(3):
        with pytest.raises(OutsideError):
            knowledge.uploads(JANE, uploads("hello"))
    assert len(service.asked) == 1
    service.status = 0
    assert knowledge.uploads(JANE, uploads("gzip"))
    clock.now += 31
    assert not knowledge.uploads(JANE, uploads("hello"))


def test_one_call_looks_things_up_for_20_seconds(service: Service, memory: Engine, clock: Clock) -> None:
    given: list[float] = []

    def slow(url: str, *, seconds: float, **_: object) -> Answer:
        given.append(seconds)
        clock.now += 7
        return Answer(200, {}, b'{"entries": []}', url)

    knowledge = LaunchpadKnowledge(Launchpad(url=service.url), memory, asks=slow, clock=clock).for_a_call()
    with pytest.raises(OutsideError, match="not known whether this is allowed"):
        knowledge.uploads(JANE, uploads("a1", "b2", "c3", "d4", "e5"))
    assert given == [10, 10, 6]
    assert not knowledge.for_a_call().uploads(JANE, uploads("d4"))  # the next call goes on


def test_who_is_within_the_limits_is_asked_nowhere_about(service: Service, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(
        '[[rule]]\nwho = "@launchpad/core"\nmay = ["request", "unlimited"]\n'
    )
    settings = Settings(
        database=Database(url=SecretStr(f"sqlite:///{tmp_path}/intake.db")),
        intake=Intake(
            policy=tmp_path / "policy.toml",
            launchpad=Launchpad(url=service.url),
            rates=Rates(identity_burst=2),
        ),
    )
    memory = intake_engine(settings)
    create_intake(memory)
    gate = Gate.of(settings, memory)
    service.teams["jane"] = ["core"]
    for who in (JANE, EVE):
        gate.admit(who, "", cost=2)
    assert service.asked == []
    gate.admit(JANE, "")  # core's members may
    with pytest.raises(LimitError):
        gate.admit(EVE, "")
    memory.dispose()

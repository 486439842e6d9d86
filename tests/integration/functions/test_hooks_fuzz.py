# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries of any form, through both functions: no 5xx, no traceback, all of a delivery's requests or none.

Signed ones: without a signature nothing is read. What each forge documents, with something in it changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika.adapters.blocking_connection import BlockingChannel
from pydantic import SecretStr
from sqlalchemy import Engine, select

from functions.forge.app import make_work
from functions.forge.hooks import HookWork
from functions.webhook.app import WebhookApp
from functions.webhook.settings import WebhookSettings
from tests.contract.test_hooks import ALL, changed
from tests.forges import TOKEN, forge_server
from tests.hooks import HEAD, PROJECT, SECRET, Hook
from tests.integration.brokers import channel_to
from tests.servers import Rabbit, Swift
from testyard.adapters.amqp import HOOKS_LATER_QUEUE, HOOKS_QUEUE, declare_topology
from testyard.errors import ResultError
from testyard.index import create_tables, index_engine
from testyard.intake import create_intake
from testyard.intake.delivery import Delivery
from testyard.intake.projects import ProjectFile
from testyard.intake.schema import asked
from testyard.queue import QueueName
from testyard.request import parse_body
from testyard.settings import Broker, Database, Intake, Settings, Store, Topology

SHORT, LONG = 100, 2_000
QUEUES = tuple(QueueName("upstream", "noble", arch) for arch in ("amd64", "arm64"))
#: What both functions may answer: taken, not relevant, no payload, not signed.
ANSWERS = {202, 200, 400, 403}
QUERIES = ["", "release=noble", "release=noble&arch=amd64&arch=arm64", "release=noble&arch=amd64&testname=x"]


@dataclass
class Forged:
    """Both functions in this process, with real servers behind."""

    work: HookWork
    client: httpx.AsyncClient
    runner: asyncio.Runner
    channel: BlockingChannel
    memory: Engine
    answers: Counter[int] = field(default_factory=Counter)
    made: Counter[int] = field(default_factory=Counter)

    def deliver(self, hook: Hook, query: str) -> None:
        """Deliver and work on it; what holds for all."""
        headers = {name: value.encode(errors="replace") for name, value in hook.headers.items()}
        address = f"/hooks/{hook.forge}?{quote(query, safe='=&')}"
        answer = self.runner.run(self.client.post(address, content=hook.body, headers=headers))
        self.answers[answer.status_code] += 1
        assert answer.status_code in ANSWERS, answer.text
        assert "Traceback" not in answer.text
        taken = self._taken(HOOKS_QUEUE)  # also refusals, for the audit log
        kept = [body for body in taken if not Delivery.from_bytes(body).refused]
        assert len(kept) == (answer.status_code == 202)
        before = self._ids()
        for body in taken:
            try:
                self.work.handle(body)
            except ResultError as error:
                assert "\n" not in error.brief  # noqa: PT017
        new = self._ids() - before
        sent = [parse_body(body).uuid for queue in QUEUES for body in self._taken(str(queue))]
        assert sorted(filter(None, sent)) == sorted(new), "accepted and sent are the same"
        assert len(new) in (0, 2 if "arm64" in query or "arch" not in query else 1), "half of it"
        self._taken(HOOKS_LATER_QUEUE)
        self.made[len(new)] += 1

    def tell(self) -> None:
        """How many of what."""
        total, answers, requests = self.answers.total(), dict(self.answers), dict(self.made)
        print(f"hooks: {total} answers: {answers}; requests of each: {requests}")

    def _taken(self, queue: str) -> list[bytes]:
        found = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(got[2] or b"")
        return found

    def _ids(self) -> set[str]:
        with self.memory.connect() as connection:
            newest = select(asked.c.request_id).order_by(asked.c.created.desc()).limit(10)
            return set(connection.execute(newest).scalars())


@pytest.fixture(scope="module")
def forged(rabbit: Rabbit, swift: Swift, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forged]:
    folder = tmp_path_factory.mktemp("forged")
    (folder / "policy.toml").write_text("[git]\ninternal = true\n")
    with forge_server() as forge, channel_to(rabbit.url) as channel, asyncio.Runner() as runner:
        (folder / "projects.toml").write_text(_projects(forge.url))
        store = Store(auth_version="1", auth_url=swift.auth_url, user=swift.user, key=SecretStr(swift.key))
        given = _settings(folder, rabbit, store)
        declare_topology(channel, QUEUES)
        for queue in (HOOKS_QUEUE, HOOKS_LATER_QUEUE, *map(str, QUEUES)):
            channel.queue_purge(queue)
        memory = index_engine(given.database.url.get_secret_value(), writer=True)
        create_tables(memory)
        create_intake(memory)
        work, close = make_work(given, ProjectFile(given.intake.projects))
        app = WebhookApp(WebhookSettings(broker_url=rabbit.url, projects=folder / "projects.toml"))
        transport: Any = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url="http://t")
        made = Forged(work, client, runner, channel, memory)
        yield made
        runner.run(client.aclose())
        close()
        memory.dispose()
        made.tell()


def _projects(url: str) -> str:
    return "".join(
        f'[projects."{name}/{PROJECT}"]\nsecret = "{SECRET}"\nurl = "{url}"\ntoken = "{TOKEN}"\n'
        f'arch = ["amd64", "arm64"]\nrelease = "noble"\n'
        for name in ("github", "gitlab", "forgejo", "gitea")
    )


def _settings(folder: Path, rabbit: Rabbit, store: Store) -> Settings:
    rates = {"identity_burst": 10_000_000}
    return Settings(
        broker=Broker(url=SecretStr(rabbit.url)),
        store=store,
        database=Database(url=SecretStr(f"sqlite:///{folder}/index.db")),
        intake=Intake.model_validate(
            {"projects": folder / "projects.toml", "policy": folder / "policy.toml", "rates": rates}
        ),
        topology=Topology(releases=("noble",), architectures=("amd64", "arm64"), contexts=("upstream",)),
    )


def any_delivery(forged: Forged, data: st.DataObject) -> None:
    hook = data.draw(st.sampled_from(ALL))
    commit = data.draw(st.binary(min_size=20, max_size=20)).hex()
    # each of another commit and pull request: nobody enters here what was cancelled, so it would be again
    text = json.dumps(hook.payload).replace(HEAD, commit)
    number = data.draw(st.integers(1, 1_000_000))
    payload: Any = json.loads(re.sub(r'("number"|"iid"): 2\b', rf"\1: {number}", text))
    for _ in range(data.draw(st.integers(0, 2))):
        payload = changed(payload, data)
    if data.draw(st.integers(0, 9)) == 0:
        hook = replace(hook, event=data.draw(st.sampled_from([other.event for other in ALL])))
    forged.deliver(replace(hook, payload=payload), data.draw(st.sampled_from(QUERIES)))


def fuzz(forged: Forged, cases: int) -> None:
    calm = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    quiet = logging.getLogger("functions")
    quiet.setLevel(logging.CRITICAL)
    settings(max_examples=cases, deadline=None, suppress_health_check=calm, database=None)(
        given(st.data())(lambda data: any_delivery(forged, data))
    )()
    quiet.setLevel(logging.NOTSET)
    assert forged.made.total() >= cases
    assert forged.made.keys() == {0, 1, 2}


def test_any_delivery(forged: Forged) -> None:
    fuzz(forged, SHORT)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_deliveries(forged: Forged) -> None:
    fuzz(forged, LONG)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The work on deliveries of hooks, with real servers, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, select, update

from functions.forge.app import make_work
from functions.forge.hooks import HookWork
from functions.webhook.hook import event_of, payload_of, project_of
from tests.forges import TOKEN, ForgeServer
from tests.hooks import HEAD, PROJECT, SECRET, Hook
from tests.integration.brokers import channel_to
from tests.servers import Rabbit
from testyard.adapters.amqp import HOOKS_LATER_QUEUE, HOOKS_QUEUE, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.cancel import cancelled
from testyard.index import create_tables, index_engine
from testyard.intake import create_intake
from testyard.intake.audit import deeds
from testyard.intake.delivery import Delivery
from testyard.intake.projects import ProjectFile
from testyard.intake.schema import asked, fact
from testyard.intake.statuses import Shown, change, of_commit
from testyard.queue import DEAD_LETTERS, QueueName
from testyard.request import TestRequest, parse_body
from testyard.settings import Broker, Database, Intake, Settings, Store, Topology

OTHER = "1" * 40
ADDRESS = "release=noble&arch=amd64&package=hello-upstream"
QUEUE = QueueName("upstream", "noble", "amd64")
QUEUES = tuple(QueueName("upstream", release, arch) for release in ("noble",) for arch in ("amd64", "arm64"))
ALL = (*map(str, QUEUES), HOOKS_QUEUE, HOOKS_LATER_QUEUE, DEAD_LETTERS)


@dataclass
class Yard:
    """Settings, and the work with its own connections."""

    work: HookWork
    engine: Engine
    rabbit: Rabbit
    store: SwiftStore
    forge: ForgeServer
    settings: Settings

    def deliver(self, hook: Hook, query: str = ADDRESS, **more: Any) -> Delivery:
        """As the webhook function hands it on, worked on."""
        text, payload = payload_of({}, hook.body)
        headers = {name.lower(): value for name, value in hook.headers.items()}
        made = Delivery(
            hook.forge,
            project_of(hook.forge, payload),
            event_of(hook.forge, headers),
            "id",
            query,
            "192.0.2.1",
            text,
        )
        self.work.handle(replace(made, **more).to_bytes())
        return made

    def pauses_end(self) -> None:
        """Forges may be asked again."""
        with self.engine.begin() as connection:
            paused = fact.c.key.startswith("pause/")
            connection.execute(update(fact).where(paused).values(expires=time.time() - 1))

    def sent(self) -> list[tuple[str, TestRequest]]:
        found = []
        with channel_to(self.rabbit.url) as channel:
            for queue in QUEUES:
                while (got := channel.basic_get(str(queue), auto_ack=True))[0] is not None:
                    found.append((str(queue), parse_body(got[2] or b"")))
        return found

    def statuses(self, commit: str = HEAD, forge: str = "github") -> dict[str, tuple[str, str]]:
        with self.engine.connect() as connection:
            rows = of_commit(connection, forge, PROJECT, commit)
        return {row.context: (str(row.wanted), str(row.ended.get("reason", ""))) for row in rows}

    def audit(self) -> list[tuple[str, str]]:
        with self.engine.connect() as connection:
            found = deeds(connection, limit=100)
        return [
            (str(deed.action), str(deed.details.get("outcome", deed.details.get("reason", ""))))
            for _, deed in found
        ]

    def ids(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(select(asked.c.request_id)).scalars())

    def is_cancelled(self, request_id: str) -> bool:
        return cancelled(self.store, request_id) is not None

    def new_ids(self, before: set[str]) -> set[str]:
        return self.ids() - before

    def ended(self, request_id: str, shown: Shown) -> None:
        """As the status function tells it."""
        with self.engine.begin() as connection:
            change(connection, request_id, shown, when=time.time())

    def file(self, text: str, ref: str = HEAD) -> None:
        self.forge.files[PROJECT, ".testyard.toml", ref] = text.encode()


@contextmanager
def yard_with(
    rabbit: Rabbit,
    store_settings: Store,
    store: SwiftStore,
    forge: ForgeServer,
    database: str,
    tmp_path: Path,
) -> Iterator[Yard]:
    """Empty queues, tables and forge."""
    tables = "".join(
        f'[projects."{name}/{PROJECT}"]\nsecret = "{SECRET}"\nurl = "{forge.url}"\ntoken = "{TOKEN}"\n'
        for name in ("github", "gitlab", "forgejo", "gitea")
    )
    (tmp_path / "projects.toml").write_text(tables)
    (tmp_path / "policy.toml").write_text(
        f'[git]\ninternal = true\n[[rule]]\nwho = "{at(forge)}/friend"\nmay = ["request", "force"]\n'
    )
    settings = Settings(
        broker=Broker(url=SecretStr(rabbit.url)),
        store=store_settings,
        database=Database(url=SecretStr(database)),
        intake=Intake(projects=tmp_path / "projects.toml", policy=tmp_path / "policy.toml"),
        topology=Topology(releases=("noble",), architectures=("amd64", "arm64"), contexts=("upstream",)),
    )
    with channel_to(rabbit.url) as channel:
        declare_topology(channel, QUEUES)
        for name in ALL:
            channel.queue_purge(name)
    engine = index_engine(database, writer=True)
    create_tables(engine)
    create_intake(engine)
    forge.files.clear()
    forge.pulls.clear()
    forge.permissions = {(PROJECT, "octocat"): "write"}
    work, close = made(settings)
    yield Yard(work, engine, rabbit, store, forge, settings)
    close()
    engine.dispose()


def at(forge: ForgeServer) -> str:
    """How people of a GitHub of one's own are called."""
    return f"github:{forge.url.removeprefix('http://')}"


def made(settings: Settings) -> tuple[HookWork, Callable[[], None]]:
    """The work as the function makes it."""
    return make_work(settings, ProjectFile(settings.intake.projects))

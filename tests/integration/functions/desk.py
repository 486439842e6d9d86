# SPDX-License-Identifier: AGPL-3.0-or-later
"""The request function for tests: its app in this process, with a real broker behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine, func, select

from functions.request.app import create_app
from tests.asking import Asker
from tests.integration.brokers import channel_to
from testyard.adapters.amqp import declare_topology
from testyard.index import index_engine, open_index
from testyard.intake import Scope, create_intake, sessions, tokens
from testyard.intake.schema import asked
from testyard.queue import QueueName
from testyard.request import TestRequest, parse_body
from testyard.settings import Settings

POLICY = """
[[rule]]
who = "logged-in"
may = ["request", "force"]
[[rule]]
who = "github/boss"
may = "all"
"""
LOGINS = """
[github]
kind = "github"
client_id = "id"
client_secret = "s3cret"
"""
TOPOLOGY = {
    "releases": ("noble",),
    "architectures": ("amd64", "arm64"),
    "contexts": ("ubuntu", "ppa", "upstream"),
}


class Desk:
    """The app, and what came of what it was asked."""

    def __init__(
        self, folder: Path, broker: str, *, url: str = "http://t", logins: str = LOGINS, **intake: Any
    ) -> None:
        (folder / "policy.toml").write_text(POLICY)
        (folder / "logins.toml").write_text(logins)
        database = f"sqlite:///{folder}/desk.db"
        open_index(database, writer=True).dispose()
        self.memory: Engine = index_engine(database, writer=True)
        create_intake(self.memory)
        files = {"policy": folder / "policy.toml", "logins": folder / "logins.toml"}
        limits = {"rates": {"identity_burst": 10_000_000, "address_burst": 10_000_000}}
        self.settings = Settings(
            broker={"url": broker},  # type: ignore[arg-type]
            database={"url": database},  # type: ignore[arg-type]
            site={"url": url},  # type: ignore[arg-type]
            topology=TOPOLOGY,  # type: ignore[arg-type]
            intake={**files, **limits, **intake},  # type: ignore[arg-type]
        )
        self.broker, self.url = broker, url
        self.app = create_app(self.settings)

    @contextmanager
    def visitor(self, owner: str = "") -> Iterator[Asker]:
        """A browser of somebody who has logged in, or of nobody."""
        with Asker(self.app, url=self.url) as asker:
            if owner:
                asker.cookies.set("testyard", self.session(owner))
            yield asker

    def session(self, owner: str) -> str:
        """The cookie of somebody who has logged in."""
        with self.memory.begin() as memory:
            return sessions.begin(memory, owner=owner, login=owner.partition("/")[2])

    def token(self, owner: str = "github/jane", *scopes: Scope) -> dict[str, str]:
        """The header of somebody's script."""
        with self.memory.begin() as memory:
            text = tokens.make(memory, owner=owner, name="test", scopes=scopes or (Scope.REQUEST,))[1]
        return {"Authorization": f"Bearer {text}"}

    def queued(self) -> list[tuple[QueueName, TestRequest]]:
        """What is in the queues; it is taken out."""
        found = []
        with channel_to(self.broker) as channel:
            declare_topology(channel, self.settings.topology.queues())
            for queue in self.settings.topology.queues():
                while True:
                    method, _, body = channel.basic_get(str(queue), auto_ack=True)
                    if method is None or body is None:
                        break
                    found.append((queue, parse_body(body)))
        return found

    def remembered(self) -> int:
        """How many requests were accepted."""
        with self.memory.connect() as memory:
            return memory.execute(select(func.count()).select_from(asked)).scalar_one()

    def forget(self) -> None:
        """Nothing was asked so far."""
        self.queued()
        with self.memory.begin() as memory:
            memory.execute(asked.delete())


def cgi(**values: str | list[str]) -> str:
    """An address as clients of autopkgtest-cloud make it."""
    usual: dict[str, str | list[str]] = {
        "release": "noble", "arch": "amd64", "package": "gzip", "trigger": "gzip/1.12-1ubuntu3",
    }  # fmt: skip
    given = {key.replace("_", "-"): value for key, value in {**usual, **values}.items() if value}
    return f"/request.cgi?{urlencode(given, doseq=True)}"


def form_token(page: str) -> str:
    """The hidden field of a page's forms."""
    return page.split('name="csrf" value="', 1)[1].split('"', 1)[0]

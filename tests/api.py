# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two rooms of the API behind one address, as a proxy shows them, with real servers behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.request.app import create_app
from tests.servers import Rabbit, Swift
from testyard.index import create_tables
from testyard.intake import Scope as TokenScope
from testyard.intake import create_intake, tokens
from testyard.settings import Broker, Database, Intake, Settings, Site, Store, Topology
from web.app import create_app as create_site

SITE = "http://yard.example"


class Rooms:
    """Reads go to the site, all else to the request function; both live as long as this does."""

    def __init__(self, site: Starlette, intake: Starlette) -> None:
        self.site, self.intake = site, intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        reads = scope["path"].startswith("/api/v1/requests") and scope["method"] in ("GET", "HEAD")
        room: ASGIApp = self.site if reads else self.intake
        await room(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            for app in (self.site, self.intake):
                await stack.enter_async_context(app.router.lifespan_context(app))
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@dataclass
class Api:
    """What tests do with it."""

    client: TestClient
    settings: Settings
    rooms: Rooms

    @property
    def memory(self) -> Engine:
        """The intake's tables, which are beside the index's."""
        memory = self.rooms.intake.state.memory
        assert isinstance(memory, Engine)
        return memory

    def token(self, owner: str = "operator/bot", *scopes: TokenScope) -> dict[str, str]:
        """The headers of somebody."""
        with self.memory.begin() as connection:
            _, text = tokens.make(connection, owner=owner, name="test", scopes=scopes or tuple(TokenScope))
        return {"Authorization": f"Bearer {text}"}


def api_settings(broker_url: str, database: str, swift: Swift | None = None, **intake: object) -> Settings:
    """Settings of both rooms."""
    store = Store()
    if swift is not None:
        store = Store(
            auth_version="1", auth_url=swift.auth_url, user=swift.user, key=SecretStr(swift.key), retries=0
        )
    return Settings(
        broker=Broker(url=SecretStr(broker_url)),
        database=Database(url=SecretStr(database)),
        store=store,
        site=Site(url=SITE),
        topology=Topology(
            releases=("noble",), architectures=("amd64", "arm64"), contexts=("ubuntu", "ppa", "upstream")
        ),
        intake=Intake.model_validate(intake),
    )


@contextmanager
def api(
    rabbit: Rabbit, database: str, swift: Swift | None = None, *, broker_url: str = "", **intake: object
) -> Iterator[Api]:
    """Both rooms, while they live."""
    settings = api_settings(broker_url or rabbit.url, database, swift, **intake)
    rooms = Rooms(create_site(settings), create_app(settings))
    create_intake(rooms.intake.state.memory)
    create_tables(rooms.intake.state.memory)
    with TestClient(rooms, base_url=SITE, raise_server_exceptions=True) as client:
        yield Api(client, settings, rooms)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The request function: forms, logins and tokens for people, the API's writing part, and older clients.

Any number of copies may run, and be killed at any time.
"""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from functions.asgi import Background, function_app, start_logging
from functions.periodic import Periodic
from functions.request.api import api_routes
from functions.request.calls import http_problem
from functions.request.login import login_bucket
from functions.request.people import not_found, people_routes, prepare_people
from functions.tables import Tables
from testyard.adapters.swift import SwiftStore
from testyard.index import index_engine, index_errors
from testyard.intake import answers, create_intake, intake_engine
from testyard.intake.engine import intake_url
from testyard.intake.gate import Gate
from testyard.intake.rates import forget_full
from testyard.intake.sender import BrokerSender
from testyard.intake.submit import Door
from testyard.settings import Settings, load_settings

log = logging.getLogger(__name__)

#: Seconds between two looks for requests that were accepted and not sent, and for what may be forgotten.
_LEFT_INTERVAL = 5.0
_FORGET_INTERVAL = 600.0


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment. Raises SettingsError."""
    start_logging()
    settings = settings or load_settings()
    memory = intake_engine(settings)
    index_url = settings.database.url.get_secret_value()
    index = index_engine(index_url)
    reader = index if intake_url(settings) == index_url else index_engine(intake_url(settings))
    # the index function may come later than this one
    tables = Tables(memory, create_intake), Tables(index_engine(index_url, writer=True))
    sender = BrokerSender(settings.broker.url.get_secret_value(), settings.topology.queues())
    door = Door(memory, index, sender)

    def send_left() -> None:
        for each in tables:
            each.ensure()
        if sent := door.send_left():
            log.info("%d requests were sent that had been accepted earlier", sent)

    def forget() -> None:
        tables[0].ensure()
        answers.forget_old(memory)
        with index_errors(), memory.begin() as connection:
            forget_full(connection, login_bucket("0.0.0.0"))  # noqa: S104  anybody's

    left = Periodic("left", _LEFT_INTERVAL, send_left)
    old = Periodic("old answers", _FORGET_INTERVAL, forget)
    app = function_app(
        [
            Background("left", left.run, left.stop, lambda: left.problem),
            Background("old answers", old.run, old.stop, lambda: old.problem),
        ],
        *api_routes(),
        *people_routes(),
    )
    state = app.state
    state.settings, state.memory, state.reader, state.index = settings, memory, reader, index
    state.calls = state.held = 0
    state.gate, state.door, state.sender = Gate.of(settings, memory), door, sender
    state.store = SwiftStore(settings.store)
    app.add_exception_handler(HTTPException, _http_error)
    prepare_people(app, settings)
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        error.headers = {"Allow": ", ".join(_methods(request))}
    if request.scope["path"].startswith("/api/"):
        return http_problem(request, error)
    return await not_found(request, error)


def _methods(request: Request) -> list[str]:
    """What the address takes; of requests the site takes what reads."""
    here = [
        route.methods or set()
        for route in request.app.router.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    reads = {"GET", "HEAD"} if request.scope["path"].startswith("/api/v1/requests") else set()
    return sorted(reads.union(*here))

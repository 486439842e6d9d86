# SPDX-License-Identifier: AGPL-3.0-or-later
"""The request function: forms, logins and tokens for people, and what older clients know."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from functions.asgi import Background, function_app, start_logging
from functions.periodic import Periodic
from functions.request.people import not_found, people_routes, prepare_people
from testyard.index import index_engine
from testyard.intake import create_intake, intake_engine
from testyard.intake.gate import Gate
from testyard.intake.sender import BrokerSender
from testyard.intake.submit import Door
from testyard.settings import Settings, load_settings

#: Seconds between two looks for requests that were accepted and not sent.
_LEFT_INTERVAL = 10.0


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment. Raises SettingsError."""
    start_logging()
    settings = settings or load_settings()
    memory = intake_engine(settings)
    index = index_engine(settings.database.url.get_secret_value())
    door = Door(
        memory, index, BrokerSender(settings.broker.url.get_secret_value(), settings.topology.queues())
    )

    def send_left() -> None:
        create_intake(memory)
        door.send_left()

    left = Periodic("left", _LEFT_INTERVAL, send_left)
    app = function_app([Background("left", left.run, left.stop, lambda: left.problem)], *people_routes())
    app.state.settings, app.state.memory, app.state.door = settings, memory, door
    app.state.gate = Gate.of(settings, memory)
    app.add_exception_handler(HTTPException, not_found)
    prepare_people(app, settings)
    return app

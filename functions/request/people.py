# SPDX-License-Identifier: AGPL-3.0-or-later
"""What people see of the request function: its pages, their files, and how an unknown address is answered."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from functions.request.again import again_routes
from functions.request.cgi import cgi_routes
from functions.request.login import login_routes, make_provider
from functions.request.places import read_places
from functions.request.tokens import token_routes
from functions.request.visit import Visit, intake_templates, problem
from testyard.errors import MissingError
from testyard.look import SafeHeaders, look_routes
from testyard.settings import Settings


def people_routes() -> list[BaseRoute]:
    """All addresses for people."""
    return [*cgi_routes(), *again_routes(), *login_routes(), *token_routes(), *look_routes()]


def prepare_people(app: Starlette, settings: Settings) -> None:
    """Give an app what these routes need beside ``settings``, ``memory``, ``gate`` and ``door`` in its state.

    Raises SettingsError if the file of logins cannot be read.
    """
    app.state.templates = intake_templates(settings)
    app.state.logins = read_places(settings)
    app.state.providers = {place.key: make_provider(place) for place in app.state.logins}
    app.add_middleware(SafeHeaders)


async def not_found(request: Request, error: Exception) -> Response:
    """The answer where there is no such address, or not by this method."""
    assert isinstance(error, HTTPException)
    words = {404: "There is no such page.", 405: f"This address does not take {request.method}."}
    told = MissingError(words.get(error.status_code, error.detail))
    response = await run_in_threadpool(problem, Visit(request), told)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response

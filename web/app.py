# SPDX-License-Identifier: AGPL-3.0-or-later
"""The site as an ASGI application: ``uvicorn web.app:create_app --factory``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Lifespan

from testyard.index import open_index
from testyard.look import HEADERS, SafeHeaders
from testyard.settings import Settings, load_settings
from web.addresses import Addresses
from web.api.routes import Memory, api_routes
from web.fetch import TIMEOUT
from web.livelog import LogHub
from web.pages.page import NotFoundError
from web.pages.problem import ProblemPage, problem_json
from web.routes import make_routes, site_of, wants_json
from web.secrets import hidden_request
from web.site import Site, site_templates
from web.views import RequestView

_DETAILS = {
    404: "There is no such page.",
    405: "This site is for reading: it takes GET and HEAD only.",
}


def create_app(
    settings: Settings | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> Starlette:
    """The site. ``transport`` is how the store is reached, httpx's own by default.

    Raises SettingsError if a setting is wrong.
    """
    settings = settings or load_settings()
    engine = open_index(settings.database.url.get_secret_value())
    places = Addresses.of(settings)
    site = Site(
        engine=engine,
        # the store is ours: no proxy from the environment stands before it
        client=httpx.AsyncClient(timeout=TIMEOUT, transport=transport, trust_env=False),
        places=places,
        templates=site_templates(settings),
        logs=LogHub(engine, lambda row: RequestView.of(row, places).to_live(), hidden_request),
    )
    memory = Memory.of(settings)
    app = Starlette(
        routes=[*api_routes(settings, memory), *make_routes()],
        middleware=[Middleware(SafeHeaders), Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)],
        exception_handlers={
            NotFoundError: _not_found,
            HTTPException: _http_error,
            SQLAlchemyError: partial(
                _problem, 503, "The index cannot be read at the moment. Try again soon."
            ),
            Exception: partial(
                _problem, 500, "This page cannot be shown: an error of the site. It was logged."
            ),
        },
        lifespan=_closing(site, memory),
    )
    app.state.site = site
    return app


def _closing(site: Site, memory: Memory) -> Lifespan[Starlette]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await site.logs.close()
        await site.client.aclose()
        site.engine.dispose()
        memory.close()

    return lifespan


async def _not_found(request: Request, error: Exception) -> Response:
    return await _problem(404, str(error), request, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = _DETAILS.get(error.status_code, error.detail)
    response = await _problem(error.status_code, detail, request, error)
    response.headers.update(error.headers or {})
    return response


async def _problem(status: int, detail: str, request: Request, _error: Exception) -> Response:
    if wants_json(request.url.path):
        response: Response = JSONResponse(
            problem_json(status, detail), status, media_type="application/problem+json"
        )
    else:
        page = ProblemPage(status=status, detail=detail)
        response = await run_in_threadpool(site_of(request).rendered, page)
    # an error of ours is answered outside the middleware, so the headers are set here as well
    response.headers.update(HEADERS)
    return response

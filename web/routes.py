# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every address of the site, top to bottom. Each page has a JSON twin from the same context."""

from __future__ import annotations

from http import HTTPStatus

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from testyard.look import look_routes
from web.live import live_routes
from web.packing import takes_gzip
from web.pages.home import home
from web.pages.package import history, package
from web.pages.packages import packages
from web.pages.page import LIVE, Build
from web.pages.request import request as request_page
from web.pages.run import run, runs
from web.pages.running import running
from web.site import STATIC, Site

_PLACE = "{release}/{architecture}"


class _RunIdConvertor(Convertor[str]):
    """Tells a run id, which ends in ``@``, from other parts; whether it is a good one is seen later."""

    regex = "[0-9a-f_]{1,40}@"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def make_routes() -> list[BaseRoute]:
    """All routes. A package's pool prefix may stand before its name, as in older addresses."""
    register_url_convertor("run_id", _RunIdConvertor())
    return [
        *_page("/", home, twin="/index.json"),
        *_page("/running", running),
        *live_routes(),
        *_page("/requests/{request_id}", request_page),
        *(Route(path, _latest) for path in ("/runs", "/runs/")),
        *_page("/runs/{reference:path}", runs),
        *_page("/packages", packages),
        *_page(f"/packages/{{source}}/{_PLACE}/{{run_id:run_id}}", run),
        *_page(f"/packages/{{prefix}}/{{source}}/{_PLACE}/{{run_id:run_id}}", run),
        *_page(f"/packages/{{source}}/{_PLACE}", history),
        *_page(f"/packages/{{prefix}}/{{source}}/{_PLACE}", history),
        *_page("/packages/{source}", package),
        *_page("/packages/{prefix}/{source}", package),
        Route("/health", _health),
        Route("/robots.txt", _robots),
        *look_routes(STATIC),
    ]


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


def wants_json(path: str) -> bool:
    """True for the addresses that programs ask."""
    return path.endswith((".json", ".events")) or path.startswith("/api/") or path == "/health"


def _page(path: str, build: Build, *, twin: str | None = None) -> list[BaseRoute]:
    async def html(request: Request) -> Response:
        site = site_of(request)
        return await site.html(
            await site.page(build, request.path_params, request.query_params), gzip=takes_gzip(request)
        )

    async def json(request: Request) -> Response:
        site = site_of(request)
        return await site.twin(
            await site.page(build, request.path_params, request.query_params), gzip=takes_gzip(request)
        )

    # the twin first: a page's pattern would take `.json` as the end of a name
    return [Route(twin or f"{path}.json", json), Route(path, html)]


async def _latest(_request: Request) -> Response:
    return RedirectResponse("/#latest", HTTPStatus.SEE_OTHER)


async def _health(request: Request) -> Response:
    reason = await run_in_threadpool(_index_problem, site_of(request))
    return JSONResponse(
        {"healthy": not reason, "reason": reason}, 503 if reason else 200, {"Cache-Control": LIVE}
    )


def _index_problem(site: Site) -> str:
    try:
        with site.engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM run LIMIT 1"))
    except SQLAlchemyError as error:
        # the driver's own message may hold the address; its kind tells enough
        return f"the index cannot be read ({type(error).__name__})"
    return ""


async def _robots(_request: Request) -> Response:
    # result pages are many and change; packages' own pages are worth finding
    return PlainTextResponse("User-agent: *\nDisallow: /requests/\nDisallow: /running\nDisallow: /runs/\n")

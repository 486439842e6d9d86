# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the site is made of while it runs, and how a context becomes a response."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

import httpx
from jinja2 import Environment
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from testyard.look import Frame, make_templates
from testyard.settings import Settings
from web import addresses, words
from web.addresses import Addresses
from web.fetch import LogText, fetch_log
from web.livelog import LogHub
from web.log import Log, read_log
from web.packing import packed
from web.pages.page import LIVE, Build, Page, Query
from web.pages.problem import problem_json
from web.pages.run import RunPage, ShownLog

STATIC = Path(__file__).parent / "static"
_TEMPLATES = Path(__file__).parent / "templates"


#: Characters of a log from which on its page waits for its turn, and how many are made at a time:
#: one of the largest takes 1.5 s of a processor and 60 MB.
LARGE_LOG = 256 * 1024
LARGE_AT_ONCE = 2


@dataclass(frozen=True)
class Site:
    """The site's parts."""

    engine: Engine
    client: httpx.AsyncClient
    places: Addresses
    templates: Environment
    logs: LogHub
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_ONCE))

    async def page(self, build: Build, names: Mapping[str, str], asked: Mapping[str, str]) -> Page:
        """Make a page's context. Questions to the index may be slow, so a thread asks them."""
        return await run_in_threadpool(self._built, build, names, asked)

    def _built(self, build: Build, names: Mapping[str, str], asked: Mapping[str, str]) -> Page:
        with self.engine.connect() as connection:
            return build(Query(connection, names, self.places, asked))

    async def html(self, page: Page, *, gzip: bool = False) -> Response:
        """The page for people."""
        if page.elsewhere is not None:
            return RedirectResponse(page.elsewhere, HTTPStatus.SEE_OTHER, {"Cache-Control": LIVE})
        if not isinstance(page, RunPage):
            return await run_in_threadpool(lambda: packed(self.rendered(page), wanted=gzip))
        text = await fetch_log(self.client, page.run.urls.log)
        async with self.large if len(text.text) > LARGE_LOG else nullcontext():
            return await run_in_threadpool(lambda: packed(self.rendered(_with_log(page, text)), wanted=gzip))

    async def twin(self, page: Page, *, gzip: bool = False) -> Response:
        """The page for programs."""
        return await run_in_threadpool(lambda: packed(json_twin(page), wanted=gzip))

    def rendered(self, page: Page) -> Response:
        """The page from its template."""
        text = self.templates.get_template(page.template).render(page=page)
        return HTMLResponse(text, page.status, {"Cache-Control": page.cache})


def _with_log(page: RunPage, text: LogText) -> RunPage:
    log = read_log(text.text) if text.text else Log(())
    shown = ShownLog(log=log, cut=text.cut, problem=text.problem)
    # a page without its log must not be kept: the store may be back in a moment
    return replace(page, shown=shown, cache=LIVE if text.problem else page.cache)


def json_twin(page: Page) -> Response:
    """The page for programs. One that is not there tells so as a problem, with what it does hold."""
    headers = {"Cache-Control": page.cache}
    if page.status == HTTPStatus.OK:
        return JSONResponse(page.to_json(), headers=headers)
    body = {**problem_json(page.status, f"No results for {page.title} yet."), **page.to_json()}
    return JSONResponse(body, page.status, headers, media_type="application/problem+json")


def site_templates(settings: Settings) -> Environment:
    """The templates, with the site's words as filters."""
    environment = make_templates(_TEMPLATES, Frame.of_site(settings), STATIC)
    environment.filters |= {
        "sign": words.sign,
        "duration": words.duration,
        "count": words.count,
        "package_page": addresses.package,
    }
    return environment

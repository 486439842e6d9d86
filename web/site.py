# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the site is made of while it runs, and how a context becomes a response."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from web import addresses, words
from web.addresses import Addresses
from web.fetch import fetch_log
from web.log import Log, read_log
from web.pages.page import LIVE, Build, Page, Query
from web.pages.problem import problem_json
from web.pages.run import RunPage, ShownLog

STATIC = Path(__file__).parent / "static"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Site:
    """The site's parts; nothing in it changes while it runs."""

    engine: Engine
    client: httpx.AsyncClient
    places: Addresses
    templates: Environment

    async def page(self, build: Build, names: Mapping[str, str]) -> Page:
        """Make a page's context. Questions to the index may be slow, so a thread asks them."""
        return await run_in_threadpool(self._built, build, names)

    def _built(self, build: Build, names: Mapping[str, str]) -> Page:
        with self.engine.connect() as connection:
            return build(Query(connection, names, self.places))

    async def html(self, page: Page) -> Response:
        """The page for people."""
        if page.elsewhere is not None:
            return RedirectResponse(page.elsewhere, HTTPStatus.SEE_OTHER, {"Cache-Control": LIVE})
        if isinstance(page, RunPage):
            page = await self._with_log(page)
        return await run_in_threadpool(self.rendered, page)

    def rendered(self, page: Page) -> Response:
        """The page from its template."""
        text = self.templates.get_template(page.template).render(page=page)
        return HTMLResponse(text, page.status, {"Cache-Control": page.cache})

    async def _with_log(self, page: RunPage) -> RunPage:
        text = await fetch_log(self.client, page.run.urls.log)
        log = await run_in_threadpool(read_log, text.text) if text.text else Log(())
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


def make_templates() -> Environment:
    """The templates, with the site's words as filters."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "sign": words.sign,
        "duration": words.duration,
        "age": words.age,
        "iso": words.iso,
        "stamp": words.stamp,
        "count": words.count,
        "package_page": addresses.package,
    }
    environment.globals["static"] = _static_addresses()
    return environment


def _static_addresses() -> dict[str, Any]:
    # the contents' digest in the address lets browsers keep the files for long
    return {
        path.name: f"/static/{path.name}?{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for path in STATIC.iterdir()
        if path.is_file()
    }

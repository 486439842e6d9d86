# SPDX-License-Identifier: AGPL-3.0-or-later
"""The links that migration software prints, ``/api/v1/retry/<run id>``, followed in a browser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine
from starlette.responses import Response
from starlette.routing import BaseRoute

from functions.request.cgi import by_post_only, confirm, may_submit_by_get, submit
from functions.request.retry import wish_for
from functions.request.sending import check_known, counted, looked_through
from functions.request.visit import Visit, page_route
from functions.request.wanted import Wanted
from functions.request.who import reader_of
from testyard.index import index_errors
from testyard.intake.submit import Wish
from testyard.request import make_request
from testyard.secrets import masked


def again_routes() -> list[BaseRoute]:
    """The link, and where its page's button leads. Programs POST to the link itself (docs/api.md)."""
    return [
        page_route("/api/v1/retry/{reference:path}", _link),
        page_route("/request/again", _button, "POST"),
    ]


def _link(visit: Visit) -> Response:
    check_known(visit)
    reference = visit.request.path_params["reference"]
    if visit.caller.by_token and not may_submit_by_get(visit):
        return by_post_only(visit)
    wish, wanted = counted(visit, lambda: _wish(visit, reference))
    asked = looked_through(visit, wanted, lambda: (wish,), paid=1)
    if may_submit_by_get(visit):
        return submit(visit, wanted, asked)
    return confirm(visit, wanted, asked, again=reference)


def _button(visit: Visit) -> Response:
    check_known(visit)
    if not visit.caller.by_token:
        visit.check_form()
    wish, wanted = counted(visit, lambda: _wish(visit, visit.one("run")))
    wish = replace(wish, force=visit.one("force") == "1")
    return submit(visit, wanted, looked_through(visit, wanted, lambda: (wish,), paid=1))


def _wish(visit: Visit, reference: str) -> tuple[Wish, Wanted]:
    index = visit.request.app.state.index
    assert isinstance(index, Engine)
    with index_errors(), index.connect() as runs, reader_of(visit.request).connect() as memory:
        wish = wish_for(memory, runs, reference, visit.caller.who)
    return wish, _shown(wish)


def _shown(wish: Wish) -> Wanted:
    """What a page tells of it: no secrets, not even whose they are."""
    request = make_request(wish.package, wish.parameters)
    lists = {
        "triggers": request.triggers, "env": request.env, "readable_by": request.readable_by,
        "ppas": tuple(str(archive) for archive in request.archives),
    }  # fmt: skip
    values: dict[str, Any] = {name: tuple(masked(items)) for name, items in lists.items()}
    return Wanted(
        package=wish.package,
        release=wish.queue.release,
        architectures=(wish.queue.architecture,),
        build_git=masked(request.build_git or ""),
        test_git=masked(request.test_git or ""),
        testname=request.testname or "",
        all_proposed="1" if request.all_proposed else "",
        secret=request.private,
        **values,
    )

# SPDX-License-Identifier: AGPL-3.0-or-later
"""``/request.cgi``, as clients of autopkgtest-cloud know it, and ``/request``, the form for people."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from functions.request.sending import Line, Ready, check_known, ready, send, wanted_of
from functions.request.visit import Visit, page_route, problem, shown, told, wanted_form
from functions.request.wanted import Wanted
from testyard.errors import RequestError


def cgi_routes() -> list[BaseRoute]:
    """The addresses of both."""
    return [
        page_route("/request.cgi", _cgi, "GET", "POST"),
        page_route("/request", _form, "GET", "POST"),
    ]


def confirm(visit: Visit, wanted: Wanted, asked: Ready, *, again: str = "") -> Response:
    """What a GET would send: a page whose button sends it. ``again`` names the run that it repeats."""
    return shown(
        visit, "confirm.html", wanted=wanted, wishes=asked.wishes, notes=asked.notes, again=again,
        title="Send this request?",
    )  # fmt: skip


def submit(visit: Visit, wanted: Wanted, asked: Ready) -> Response:
    """Send it, and tell what became of it."""
    outcome = send(visit, wanted, asked)
    more = {"requests": [_json(line) for line in outcome.lines], "notes": list(asked.notes)}
    lines = [*(line.text for line in outcome.lines), *asked.notes]
    answer = told(visit, outcome.status, outcome.message, lines, more)
    if answer is not None:
        return answer
    return shown(
        visit, "submitted.html", status=outcome.status, wanted=wanted, outcome=outcome, notes=asked.notes,
        title=outcome.message,
    )  # fmt: skip


def may_submit_by_get(visit: Visit) -> bool:
    """True for the holder of a token, if the settings let them. HEAD is to change nothing."""
    wanted = visit.settings.intake.get_submits == "token"
    return wanted and visit.caller.by_token and visit.request.method == "GET"


def _cgi(visit: Visit) -> Response:
    check_known(visit)
    wanted = wanted_of(visit)
    if visit.posted:
        if not visit.caller.by_token:
            visit.check_form()
        return submit(visit, wanted, ready(visit, wanted, triggers=False))
    if may_submit_by_get(visit):
        return submit(visit, wanted, ready(visit, wanted, triggers=True))
    if visit.caller.by_token:
        return by_post_only(visit)
    return confirm(visit, wanted, ready(visit, wanted, triggers=True))


def _form(visit: Visit) -> Response:
    check_known(visit)
    if not visit.posted:
        return _form_page(visit, wanted_of(visit))
    if not visit.caller.by_token:
        visit.check_form()
    wanted = wanted_of(visit)
    try:
        return submit(visit, wanted, ready(visit, wanted, triggers=False))
    except RequestError as error:
        if wanted_form(visit) != "html":
            raise
        # what was typed is not lost
        return _form_page(visit, wanted, error)


def _form_page(visit: Visit, wanted: Wanted, error: RequestError | None = None) -> Response:
    topology = visit.settings.topology
    names = topology.architectures
    chosen = wanted.architectures or (names if len(names) == 1 else ())
    status = problem(visit, error).status_code if error else HTTPStatus.OK
    context: Mapping[str, Any] = {
        "wanted": wanted,
        "chosen": chosen,
        "topology": topology,
        "error": error.brief if error else "",
        "title": "Request a test",
    }
    return shown(visit, "form.html", status=status, **context)


def by_post_only(visit: Visit) -> Response:
    brief = "This service takes requests by POST only: send the same names and values as a form."
    headers = {"Allow": "POST"}
    answer = told(visit, HTTPStatus.METHOD_NOT_ALLOWED, brief, [], {})
    if answer is not None:
        answer.headers.update(headers)
        return answer
    return shown(
        visit, "problem.html", status=HTTPStatus.METHOD_NOT_ALLOWED, headers=headers, brief=brief, help="",
        title="Not by GET",
    )  # fmt: skip


def _json(line: Line) -> dict[str, str]:
    accepted = line.accepted
    return {
        "request_id": accepted.request_id,
        "queue": str(accepted.queue),
        "release": accepted.queue.release,
        "architecture": accepted.queue.architecture,
        "standing": str(accepted.standing),
        "url": line.request,
        "history": line.history,
    }

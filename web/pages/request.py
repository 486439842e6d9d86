# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a request is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from testyard import fields
from testyard.errors import RequestError, ResultError
from testyard.index import RequestState, livelog, read
from testyard.livelog import LogPiece, left_out_line
from testyard.store import RunPath
from web import addresses
from web.log import plain_text
from web.pages.page import NotFoundError, Page, Query
from web.secrets import hidden_request, public_runs
from web.views import RequestView

#: Bytes of a running log that its page shows; of a longer one the newest.
_SHOWN = 256 * 1024

#: The beginning of an id that is long enough to be one's only.
_BEGINNING = re.compile(r"[0-9a-f-]{6,35}(?<!-)")


@dataclass(frozen=True, kw_only=True)
class RequestPage(Page):
    """The context of ``/requests/{id}``."""

    template: ClassVar[str] = "request.html"
    request: RequestView
    log: tuple[LogPiece, ...] = ()

    @property
    def title(self) -> str:
        row = self.request.row
        return f"{row.state}: {row.package}"

    @property
    def live(self) -> bool:
        """True as long as the page may change."""
        ended = RequestState.DONE if self.request.private else None
        return self.request.row.state not in (RequestState.REJECTED, RequestState.CANCELLED, ended)

    @property
    def follows(self) -> bool:
        """True if a browser may follow it live; an ended one leads to its result as soon as that is there."""
        return self.live and self.request.row.state is not RequestState.DONE

    @property
    def log_text(self) -> str:
        """Its log, or the newest part of it, as plain text."""
        return plain_text(
            "".join(left_out_line(piece.left_out) if piece.left_out else piece.text for piece in self.log)
        )

    @property
    def log_start(self) -> int:
        """The byte of the log with which `log_text` begins."""
        return self.log[0].start if self.log else 0

    @property
    def log_end(self) -> int:
        """The byte of the log up to which `log_text` goes."""
        return self.log[-1].end if self.log else 0

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """The request's keys and values as text; its id has a place of its own."""
        items = self.request.row.parameters.items()
        return tuple((key.replace("-", " "), _text(value) or "none") for key, value in items if key != "uuid")

    def to_json(self) -> dict[str, Any]:
        return self.request.to_json()


def request(query: Query) -> RequestPage:
    """The page of one request; a browser is sent on to the run once that is stored."""
    request_id = _request_id(query)
    row = read.find_request(query.index, request_id)
    if row is None:
        raise NotFoundError("No request has this id. One just sent shows here within seconds.")
    view = RequestView.of(row, query.places)
    return RequestPage(request=view, elsewhere=_run_page(query, view), log=_log(query, view))


def _log(query: Query, view: RequestView) -> tuple[LogPiece, ...]:
    row = view.row
    if view.private or row.state not in (RequestState.RUNNING, RequestState.DONE):
        return ()
    start = max(0, row.log_end - _SHOWN)
    return livelog.after(query.index, row.request_id, row.attempt, start, limit=2 * _SHOWN)


def _request_id(query: Query) -> str:
    text = query.names["request_id"].lower()
    if _BEGINNING.fullmatch(text):
        found = [row for row in read.requests_beginning(query.index, text) if not hidden_request(row)]
        if len(found) == 1:
            return found[0].request_id
        raise NotFoundError(f"{len(found) or 'No'} known requests have ids that begin with {text}.")
    try:
        return fields.request_id("id", text) or ""
    except RequestError as error:
        raise NotFoundError("A request's id is a UUID, such as the one that the sender was given.") from error


def _run_page(query: Query, view: RequestView) -> str | None:
    # the store's event may come before the index has the run: until then the request's page stays
    if view.row.state is not RequestState.DONE or view.row.path is None:
        return None
    try:
        RunPath.parse(view.row.path)
    except ResultError:
        return None
    found = public_runs(read.find_runs(query.index, view.row.path))
    return addresses.run(found[0]) if found else None


def _text(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

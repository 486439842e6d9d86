# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large pages are compressed where they are made: in a thread, not in the loop that serves all others."""

from __future__ import annotations

import gzip

from starlette.requests import Request
from starlette.responses import Response

#: Bytes. What is smaller is left to the middleware: it takes 1 ms at most.
LARGE = 64 * 1024
LEVEL = 4


def takes_gzip(request: Request) -> bool:
    """Whether the browser unpacks gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "")


def packed(response: Response, *, wanted: bool) -> Response:
    """The response, its body compressed if it is large and the browser takes it so."""
    if not wanted or len(response.body) < LARGE:
        return response
    response.body = gzip.compress(response.body, LEVEL, mtime=0)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.body))
    response.headers.add_vary_header("Accept-Encoding")
    return response

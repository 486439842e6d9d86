# SPDX-License-Identifier: AGPL-3.0-or-later
"""Headers of every response: what a browser may do with a page that shows strangers' text."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

#: Static files have their digest in the address, so they may be kept for a year.
_STATIC_CACHE = "public, max-age=31536000, immutable"


class SafeHeaders:
    """Middleware that sets them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers added to the response's start."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if (
                    scope["path"].startswith("/static/")
                    and scope["query_string"]
                    and message["status"] == 200
                ):
                    headers["Cache-Control"] = _STATIC_CACHE
            await send(message)

        await self.app(scope, receive, with_headers)

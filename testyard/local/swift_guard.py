# SPDX-License-Identifier: AGPL-3.0-or-later
"""A password for Swift's back-ends, which by themselves serve everyone who reaches their ports.

Proxy and housekeeper add a header to each internal request (`sign_requests`); a filter in front of
each back-end (`filter_factory`) refuses requests without it. The header never reaches a client:
the proxy sends it only to back-ends, and the filter takes it out before Swift sees the request.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

HEADER = "X-Testyard-Back-End"
_ENVIRON = "HTTP_" + HEADER.upper().replace("-", "_")
_expected: list[str] = []  # set once per process; paste's configuration files hold no secret


def expect_secret(secret: str) -> None:
    """Set what this process's back-ends ask for. Must come before any request."""
    _expected[:] = [secret]


def sign_requests(secret: str) -> None:
    """Have each of this process's internal Swift requests carry ``secret``."""
    from swift.common import bufferedhttp  # noqa: PLC0415  eventlet's patching comes first

    plain = bufferedhttp.BufferedHTTPConnection

    class SignedConnection(plain):  # type: ignore[misc, valid-type]
        """Adds the header right behind the request line."""

        def putrequest(self, method: str, url: str, skip_host: int = 0, skip_accept_encoding: int = 0) -> Any:
            """Start a request."""
            answer = super().putrequest(method, url, skip_host, skip_accept_encoding)
            self.putheader(HEADER, secret)
            return answer

    # every caller goes through http_connect, which looks the name up in this module
    bufferedhttp.BufferedHTTPConnection = SignedConnection


def filter_factory(
    _global_conf: Mapping[str, str], **_local_conf: str
) -> Callable[[Application], Application]:
    """Paste's entry point: 401 for whoever does not know the secret."""

    def wrap(application: Application) -> Application:
        def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            given = environ.pop(_ENVIRON, "")
            if _expected and hmac.compare_digest(given.encode("latin-1"), _expected[0].encode("latin-1")):
                return application(environ, start_response)
            start_response(
                "401 Unauthorized", [("Content-Type", "text/plain"), ("Content-Length", "0")], None
            )
            return []

        return guarded

    return wrap

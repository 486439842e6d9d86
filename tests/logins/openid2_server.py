# SPDX-License-Identifier: AGPL-3.0-or-later
"""An OpenID 2.0 provider for the tests, on python3-openid's own server side: ``openid2_server.py PORT``.

It asks nobody: ``/as/NAME`` makes NAME the person who is logged in; ``/as/`` nobody.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from openid.extensions import sreg
from openid.server.server import CheckIDRequest, Server
from openid.store.memstore import MemoryStore

TEAMS = "http://ns.launchpad.net/2007/openid-teams"
MEMBERS = {"jane": ("testers", "devel"), "joe": ()}
XRDS = """<?xml version="1.0" encoding="UTF-8"?>
<xrds:XRDS xmlns:xrds="xri://$xrds" xmlns="xri://$xrd*($v*2.0)"><XRD><Service priority="0">
<Type>{kind}</Type><URI>{endpoint}</URI></Service></XRD></xrds:XRDS>
"""


class Handler(BaseHTTPRequestHandler):
    """One call."""

    person = ""
    server_side: Server
    url: str

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/as/"):
            Handler.person = parts.path.removeprefix("/as/")
            self._send(200, "text/plain", b"")
        elif parts.path == "/openid":
            self._openid(dict(parse_qsl(parts.query)))
        else:  # "/" is the provider's identifier, "/+id/NAME" a person's
            kind = "server" if parts.path == "/" else "signon"
            text = XRDS.format(kind=f"http://specs.openid.net/auth/2.0/{kind}", endpoint=f"{self.url}openid")
            self._send(200, "application/xrds+xml", text.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._openid(dict(parse_qsl(body)))

    def _openid(self, query: dict[str, str]) -> None:
        request = self.server_side.decodeRequest(query)
        if isinstance(request, CheckIDRequest):
            response = request.answer(bool(self.person), identity=f"{self.url}+id/{self.person}")
            if self.person:
                self._add_what_is_asked(request, response)
        else:
            response = self.server_side.handleRequest(request)
        answer = self.server_side.encodeResponse(response)
        body = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        self._send(answer.code, "text/plain", body, answer.headers)

    def _add_what_is_asked(self, request: CheckIDRequest, response: object) -> None:
        asked = sreg.SRegRequest.fromOpenIDRequest(request)
        response.addExtension(sreg.SRegResponse.extractResponse(asked, {"nickname": self.person}))  # type: ignore[attr-defined]
        wanted = request.message.getArgs(TEAMS).get("query_membership", "").split(",")
        member = [team for team in wanted if team in MEMBERS.get(self.person, ())]
        response.fields.namespaces.addAlias(TEAMS, "lp")  # type: ignore[attr-defined]
        response.fields.setArg(TEAMS, "is_member", ",".join(member))  # type: ignore[attr-defined]

    def _send(self, code: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"Content-Type": kind, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the end."""
    port = int(sys.argv[1])
    Handler.url = f"http://127.0.0.1:{port}/"
    Handler.server_side = Server(MemoryStore(), f"{Handler.url}openid")
    server = HTTPServer(("127.0.0.1", port), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

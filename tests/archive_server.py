# SPDX-License-Identifier: AGPL-3.0-or-later
"""archive_server.py FOLDER LOG ADDRESS: serves a folder on port 80.

``/private`` asks for the credentials in the first line of standard input.
"""

from __future__ import annotations

import base64
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, LOG, ADDRESS = sys.argv[1:4]
EXPECTED = f"Basic {base64.b64encode(sys.stdin.readline().strip().encode()).decode()}"


class Handler(SimpleHTTPRequestHandler):
    """Files, and for some of them a password."""

    def do_GET(self) -> None:
        """One request."""
        if self.path.startswith("/private/") and self.headers["Authorization"] != EXPECTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.end_headers()
            return
        super().do_GET()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Status and path."""
        with Path(LOG).open("a") as log:
            log.write(f"{int(code)} {self.path}\n")


with ThreadingHTTPServer((ADDRESS, 80), partial(Handler, directory=FOLDER)) as server:
    with Path(LOG).open("a") as log:
        log.write("ready\n")
    server.serve_forever()

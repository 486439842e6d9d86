# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one address that people and programs use: HAProxy, as before a deployed site.

    python -m testyard.local.front STATE_FOLDER

writes its file and *becomes* it. Who answers what is in `testyard/routes.py`; all else is the site's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from testyard.errors import SettingsError, TestyardError
from testyard.local.files import write_private
from testyard.local.ports import LOOPBACK
from testyard.local.state import LocalState
from testyard.routes import HEALTH, ROUTES

HAPROXY = Path("/usr/sbin/haproxy")

# a part that is just being started again is waited for: readers of a running log would give up at an error
_HEAD = """\
# made by testyard.local.front, at each start anew
global
    maxconn 4000
    nbthread 1
defaults
    mode http
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout http-request 30s
    timeout http-keep-alive 30s
    timeout queue 10s
    retries 8
    retry-on conn-failure
    option forwardfor
frontend front
    bind {address}:{port}
    # who asks is what the socket says, not what the client says
    http-request del-header X-Forwarded-For
    http-request return status 200 content-type text/plain string "ok" if {{ path {health} }}
"""
_BACKEND = """\
backend {part}
    server {part} {address}:{port}
"""


def render_front(state: LocalState) -> str:
    """haproxy.cfg."""
    parts = {"web": state.ports["site"]}
    lines = []
    for route in ROUTES:
        if route.part in state.ports:
            parts[route.part] = state.ports[route.part]
            lines.append(f"    use_backend {route.part} if {route.condition}\n")
    head = _HEAD.format(address=LOOPBACK, port=state.ports["web"], health=HEALTH)
    backends = [_BACKEND.format(part=part, address=LOOPBACK, port=port) for part, port in parts.items()]
    return "".join((head, *lines, "    default_backend web\n", *backends))


def become_front(state: LocalState) -> None:
    """Turn this process into HAProxy; returns only by an exception."""
    if not HAPROXY.exists():
        raise SettingsError(
            f"HAProxy is not installed: no {HAPROXY}.",
            resolution="Install it: sudo apt-get install --no-install-recommends haproxy",
        )
    config = state.path / "haproxy.cfg"
    write_private(config, render_front(state))
    os.chdir(state.path)
    os.execv(HAPROXY, [str(HAPROXY), "-db", "-q", "-f", str(config)])  # noqa: S606  argv, no shell


def main() -> None:
    """Entry point; problems go to stderr, which is the part's log."""
    try:
        state = LocalState.load(Path(sys.argv[1])) if len(sys.argv) == 2 else None
        if state is None:
            raise SettingsError("usage: python -m testyard.local.front STATE_FOLDER")
        become_front(state)
    except TestyardError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

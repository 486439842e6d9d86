# SPDX-License-Identifier: AGPL-3.0-or-later
"""supervisord.conf of one instance. It holds no secret."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

from testyard.local.parts import Part, all_parts
from testyard.local.state import LocalState

# starting is `up`'s, which waits for health between the stages; restarting is supervisord's
_HEAD = """\
; made by `testyard local up`, at each start anew
; ports: {ports}
[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
logfile = {logs}/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = {run}/supervisord.pid
directory = {path}
umask = 022
nocleanup = true
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# a part that dies within its first second is tried 60 times, 1, 2, 3, … s apart, which is half an hour.
# With 5 tries, a broker that was killed again and again while it started was given up for good
_PROGRAM = """\

[program:{name}]
command = {command}
directory = {path}
priority = {priority}
autostart = false
autorestart = true
startsecs = 1
startretries = 60
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
stopasgroup = {stop_group}
killasgroup = true
redirect_stderr = true
stdout_logfile = {logs}/{name}.log
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 2
"""


def render_supervisor(state: LocalState) -> str:
    """supervisord.conf."""
    head = _HEAD.format(
        ports=" ".join(f"{name}={port}" for name, port in state.ports.items()),
        socket=str(state.run_dir / "supervisor.sock"),
        logs=str(state.log_dir),
        run=str(state.run_dir),
        path=str(state.path),
        # otherwise it warns at each start that it was not told to be root
        user="user = root\n" if os.geteuid() == 0 else "",
    )
    return head + "".join(_programs(state, all_parts(state)))


def _programs(state: LocalState, parts: Iterable[Part]) -> Iterable[str]:
    for priority, part in enumerate(parts):
        yield _PROGRAM.format(
            name=part.name,
            command=shlex.join(part.argv),
            path=str(state.path),
            priority=priority,
            stop_seconds=part.stop_seconds,
            stop_signal=part.stop_signal,
            stop_group=str(part.stop_group).lower(),
            logs=str(state.log_dir),
        )

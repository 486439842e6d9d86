# SPDX-License-Identifier: AGPL-3.0-or-later
"""Swift logs to syslog and nowhere else: without /dev/log every error would be lost."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import Any


class StderrHandler(logging.StreamHandler[Any]):
    """Takes a syslog handler's arguments and constants, and writes to stderr."""

    def __init__(self, *_args: object, **_options: object) -> None:
        super().__init__(sys.stderr)


def log_to_stderr() -> None:
    """Have this process's Swift log to stderr. Must come before the first logger is made."""
    import swift.common.utils.logs as swift_logs  # noqa: PLC0415  eventlet's patching comes first

    for name in dir(logging.handlers.SysLogHandler):
        if name.startswith("LOG_"):
            setattr(StderrHandler, name, getattr(logging.handlers.SysLogHandler, name))
    swift_logs.ThreadSafeSysLogHandler = StderrHandler

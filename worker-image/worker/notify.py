# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells systemd how the worker is (sd_notify(3)): one datagram, where systemd asked for it.

The packages that do this are bindings to be compiled, or unmaintained since 2017.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*lines: str) -> None:
    """Send ``KEY=value`` lines to the socket in ``NOTIFY_SOCKET``; nothing without it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # Linux' abstract namespace
        address = "\0" + address[1:]
    # a manager that does not listen is no reason to stop a test
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendto("\n".join(lines).encode(), address)

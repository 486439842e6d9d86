# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values as terraform sends them: msgpack, with an extension for what is not known yet."""

from __future__ import annotations

from typing import Any

import msgpack

from tests.openstack.provider.values import UNKNOWN

# "unknown" without and with what is known about it already, as that it is not null
_EXTENSIONS = frozenset({0, 12})


def decode(data: bytes) -> Any:
    """The value in ``data`` (msgpack as terraform writes it)."""
    if not data:
        return None
    return msgpack.unpackb(data, ext_hook=_extension, strict_map_key=False)


def _extension(code: int, data: bytes) -> Any:
    return UNKNOWN if code in _EXTENSIONS else msgpack.ExtType(code, data)


def encode(value: Any) -> bytes:
    """The inverse of ``decode``."""
    packed: bytes = msgpack.packb(value, default=_extended)
    return packed


def _extended(value: Any) -> Any:
    if value is UNKNOWN:
        return msgpack.ExtType(0, b"\x00")
    raise TypeError(f"{type(value).__name__} is no value of terraform's")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names are asked for once a minute; where they lead is checked each time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from testyard.adapters.names import RememberedNames
from testyard.adapters.outside import Outside
from testyard.errors import OutsideError, RefusedAddressError


class Server:
    """A name server that counts, and answers what is in ``says``."""

    def __init__(self, **says: str) -> None:
        self.says, self.asked = says, 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        await asyncio.sleep(0)
        if host not in self.says:
            raise OSError("no such name")
        return [self.says[host]]


def test_a_name_is_asked_for_once() -> None:
    server = Server(git="93.184.216.34", inside="10.0.0.1")
    outside = Outside(resolve=RememberedNames(server))
    for _ in range(3):
        outside.check("https://git/a.git")
        outside.check("https://git/another.git")
        with pytest.raises(RefusedAddressError):
            outside.check("https://inside/")
        with pytest.raises(OutsideError, match="no such name"):
            outside.check("https://nowhere/")
    assert server.asked == 3


def test_what_was_said_is_forgotten() -> None:
    server = Server(git="93.184.216.34")
    names = RememberedNames(server, seconds=0.05)
    assert asyncio.run(names("git", 443)) == ("93.184.216.34",)
    server.says["git"] = "10.0.0.1"
    assert asyncio.run(names("git", 443)) == ("93.184.216.34",)

    async def later() -> Sequence[str]:
        await asyncio.sleep(0.1)
        return await names("git", 443)

    assert asyncio.run(later()) == ("10.0.0.1",)


def test_what_is_remembered_is_bounded() -> None:
    server = Server(**{f"host{number}": "93.184.216.34" for number in range(50)})
    names = RememberedNames(server, most=10)
    for host in server.says:
        asyncio.run(names(host, 443))
    asyncio.run(names("host49", 443))
    asyncio.run(names("host0", 443))
    assert server.asked == 51

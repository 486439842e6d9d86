# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses that strangers name: asked only if they lead outside.

A name is resolved once; all that it resolves to is checked; the connection goes to what was checked, so a
name server that tells something else a moment later changes nothing. Each redirection is checked anew. No
proxy is used, and no credentials of this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from testyard.errors import OutsideError, RefusedAddressError, TooMuchError, words_of

_T = TypeVar("_T")
Address = IPv4Address | IPv6Address
#: The addresses of a host's name and a port. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

#: Seconds for one answer with all its redirections, its bytes at most, and redirections.
SECONDS = 20.0
MOST_BYTES = 1024 * 1024
MOST_REDIRECTIONS = 3
#: Seconds that somebody may ask us to wait.
LONGEST_PAUSE = 3600.0
#: Addresses of one name that are tried.
_MOST_TARGETS = 4

_HOST = re.compile(r"[a-z0-9._-]+")

# Written out, not taken from Python: its `is_global` differs between 3.11 and 3.13
_INSIDE_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
#: All public addresses of IPv6, and what of them leads elsewhere: special purposes with Teredo, examples,
#: 6to4.
_OUTSIDE_6 = IPv6Network("2000::/3")
_INSIDE_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
#: Where a network of IPv6 only keeps all of IPv4 (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Answer:
    """What was there; ``url`` is where the last redirection led."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def leads_inside(address: Address) -> bool:
    """True unless anybody on the internet has this address."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in _INSIDE_4)
    if address.ipv4_mapped is not None:
        return leads_inside(address.ipv4_mapped)
    if address in _NAT64:
        return leads_inside(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.scope_id or address not in _OUTSIDE_6:
        return True
    return any(address in network for network in _INSIDE_6)


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """As this machine's programs do it: hosts file and name server."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Outside:
    """Fetches for any number of threads.

    ``inside`` names what may be reached though it is internal: hosts (``git.example.org``, ``*.lan``),
    addresses and networks (``10.1.0.0/16``). ``hosts``, if there are any, are all that may be reached.
    """

    inside: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    seconds: float = SECONDS
    most_bytes: int = MOST_BYTES
    resolve: Resolve = field(default=resolve, repr=False)
    tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context, repr=False)

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """What is at an address, whatever its status.

        Redirections of GET are followed, without ``Authorization`` if they lead to another host. Raises
        RefusedAddressError if the address must not be asked, OutsideError if it cannot be, or answers too
        much or too slowly.
        """
        return self._now(self._fetched(url, method, dict(headers or {}), body), url)

    def check(self, url: str) -> None:
        """Raises as `fetch` would before it connects; for addresses that somebody else will fetch."""
        self._now(self._targets(self._parsed(url)), url)

    def _now(self, work: Awaitable[_T], url: str) -> _T:
        loop = asyncio.new_event_loop()

        async def limited() -> _T:
            async with asyncio.timeout(self.seconds):
                return await work

        try:
            return loop.run_until_complete(limited())
        except TimeoutError as error:
            raise OutsideError(f"{_shown(url)}: took longer than {self.seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutsideError(f"{_shown(url)}: {words_of(error)}") from error
        finally:
            # not asyncio.run: that would wait for a name server as long as its thread does
            loop.close()

    async def _fetched(self, url: str, method: str, headers: dict[str, str], body: bytes) -> Answer:
        host = urlsplit(url).hostname
        for _ in range(MOST_REDIRECTIONS + 1):
            answer = await self._asked(url, method, headers, body)
            place = answer.headers.get("location")
            if method != "GET" or answer.status not in (301, 302, 303, 307, 308) or place is None:
                return answer
            before, url = url, urljoin(url, place)
            if before.startswith("https:") and not url.startswith("https:"):
                raise RefusedAddressError(f"{_shown(before)} leads to an address without https")
            if urlsplit(url).hostname != host:
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        raise OutsideError(f"{_shown(url)}: more than {MOST_REDIRECTIONS} redirections")

    async def _asked(self, url: str, method: str, headers: Mapping[str, str], body: bytes) -> Answer:
        parts = self._parsed(url)
        failure: httpx.HTTPError | None = None
        for target in (await self._targets(parts))[:_MOST_TARGETS]:
            try:
                return await self._asked_there(parts, target, method, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = failure or error  # nothing was sent, so the next one may be asked
        assert failure is not None  # a host has at least one
        raise failure

    async def _asked_there(
        self, parts: SplitResult, target: Address, method: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        url = parts.geturl()
        literal = f"[{target}]" if isinstance(target, IPv6Address) else str(target)
        port = f":{parts.port}" if parts.port else ""
        place = parts._replace(netloc=f"{literal}{port}", fragment="").geturl()
        sent = httpx.Headers({"Accept-Encoding": "identity"})
        sent.update(headers)
        sent["Host"] = f"{_host(parts)}{port}"
        async with (
            httpx.AsyncClient(
                timeout=self.seconds + 1, follow_redirects=False, trust_env=False, verify=self.tls
            ) as client,
            client.stream(
                method,
                place,
                headers=sent,
                content=body or None,
                # the certificate must be the name's, not the address's
                extensions={"sni_hostname": str(parts.hostname)},
            ) as answer,
        ):
            return Answer(answer.status_code, answer.headers, await self._body(answer, url), url)

    async def _body(self, answer: httpx.Response, url: str) -> bytes:
        data = b""
        async for piece in answer.aiter_raw():  # not unpacked: a few bytes could become many
            data += piece
            if len(data) > self.most_bytes:
                raise TooMuchError(f"{_shown(url)}: more than {self.most_bytes} bytes")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise OutsideError(f"{_shown(url)}: compressed, which it was asked not to be")
        return data

    def _parsed(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise RefusedAddressError(f"{_shown(url)}: no address: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RefusedAddressError(f"{_shown(url)}: only http:// and https:// addresses are asked")
        if parts.username is not None or parts.password is not None:
            raise RefusedAddressError("an address with credentials in it is not asked")
        if not url.isascii() or any(ord(letter) <= 32 or letter in "\\\x7f" for letter in url):
            raise RefusedAddressError(f"{_shown(url)}: holds a letter that no address has")
        if not _plain(parts):
            raise RefusedAddressError(f"{_shown(url)}: its host is no plain name or address")
        if port == 0:
            raise RefusedAddressError(f"{_shown(url)}: no port")
        if self.hosts and not _named(parts.hostname, self.hosts):
            raise RefusedAddressError(f"{parts.hostname} is none of the hosts that may be asked")
        return parts

    async def _targets(self, parts: SplitResult) -> tuple[Address, ...]:
        """All addresses of the host. One that leads inside is enough to refuse it."""
        host = str(parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = tuple(ipaddress.ip_address(text) for text in await self.resolve(host, port))
        except (OSError, ValueError) as error:  # ValueError: a name that no name server can be asked for
            raise OutsideError(f"{host}: {words_of(error)}") from error
        if not found:
            raise OutsideError(f"{host}: has no address")
        if not _named(host, self.inside):
            for address in found:
                if leads_inside(address) and not self._allowed(address):
                    raise RefusedAddressError(f"{host} leads to an internal address, which is not asked")
        return found

    def _allowed(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in _networks(self.inside))


def pause_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` in either form; an hour at most: a wrong clock must not silence us."""
    after = headers.get("retry-after", "")
    if after.isdigit():
        seconds = float(after)
    else:
        try:
            seconds = parsedate_to_datetime(after).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 1.0), LONGEST_PAUSE)


def _networks(names: Collection[str]) -> list[IPv4Network | IPv6Network]:
    found = []
    for name in names:
        try:
            found.append(ipaddress.ip_network(name, strict=False))
        except ValueError:
            continue
    return found


def _named(host: str, names: Collection[str]) -> bool:
    host = host.rstrip(".").lower()
    return any(fnmatchcase(host, name.lower()) for name in names)


def _plain(parts: SplitResult) -> bool:
    """False for a host that another program may read as another one: git decodes 127.0.0%2e1."""
    host = str(parts.hostname)
    if "[" in parts.netloc:
        try:
            return "%" not in host and bool(IPv6Address(host))
        except ValueError:
            return False
    return _HOST.fullmatch(host) is not None


def _host(parts: SplitResult) -> str:
    host = str(parts.hostname)
    return f"[{host}]" if ":" in host else host


def _shown(url: str) -> str:
    """For messages: without what may be a secret, and not long."""
    bare = url.partition("?")[0].partition("#")[0]
    return "".join(letter if letter.isprintable() else "?" for letter in bare[:200])

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Indexes of source packages as archives publish them: Release and Sources (Debian's repository format)."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testyard.adapters.fetch import ask
from testyard.adapters.outside import Answer
from testyard.errors import OutsideError

#: Debian unstable's InRelease has 200 kB; Ubuntu's largest Sources.xz 8 MB, unpacked 50 MB.
_MOST_RELEASE = 16 * 1024 * 1024
_MOST_PACKED = 128 * 1024 * 1024
_MOST_PLAIN = 1024 * 1024 * 1024
#: Seconds for an index of them, and for one file: a caller waits for it, and tries again a minute later.
_RELEASE_SECONDS, _PACKED_SECONDS = 20.0, 60.0
_PIECE = 1 << 16
_HASH_LINE = re.compile(r" ([0-9a-fA-F]{64}) +([0-9]+) +(\S+)")


@dataclass(frozen=True)
class Suite:
    """One folder below ``dists``. ``login`` is for a private archive."""

    url: str
    name: str
    components: tuple[str, ...]
    keyring: Path | None = None
    login: tuple[str, str] | None = None

    @property
    def place(self) -> str:
        """Its address."""
        return f"{self.url.rstrip('/')}/dists/{self.name}"


@dataclass(frozen=True)
class Seen:
    """What a server said of a file, to ask it only for a newer one."""

    etag: str = ""
    modified: str = ""


@dataclass(frozen=True)
class Release:
    """Which Sources there are: component → path below the suite, and SHA-256. ``there``: if it exists."""

    seen: Seen
    sources: Mapping[str, tuple[str, str]]
    there: bool = True


class DeniedError(OutsideError):
    """The server wants other credentials."""


def read_release(suite: Suite, seen: Seen) -> Release | None:
    """The suite's index; None if it is as it was when it was ``seen``.

    Raises DeniedError, and OutsideError if the server
    does not answer well or the signature is not by a key of the suite's keyring.
    """
    for name in ("InRelease",) if suite.keyring else ("InRelease", "Release"):
        answer = _get(suite, name, seen, _MOST_RELEASE)
        if answer.status == 304:
            return None
        if answer.status == 200:
            text = _signed(answer, suite.keyring) if name == "InRelease" else answer.body
            told = Seen(answer.headers.get("etag", ""), answer.headers.get("last-modified", ""))
            return Release(told, _sources_of(text.decode(errors="replace"), suite.components))
    return Release(Seen(), {}, there=False)


def read_sources(suite: Suite, path: str, sha256: str) -> Iterator[tuple[str, str]]:
    """Name and version of each source that a ``Sources`` file names. Raises OutsideError."""
    answer = _get(suite, path, Seen(), _MOST_PACKED)
    if answer.status != 200:
        raise OutsideError(f"{answer.url}: status {answer.status}")
    if hashlib.sha256(answer.body).hexdigest() != sha256:
        raise OutsideError(f"{answer.url}: is not what the release's index says")
    # a path by its hash has no ending: what it is says the first bytes
    return _paragraphs(_lines(_plain(answer.body, answer.url)))


def _get(suite: Suite, path: str, seen: Seen, most_bytes: int) -> Answer:
    headers = {}
    if seen.etag:
        headers["If-None-Match"] = seen.etag
    elif seen.modified:
        headers["If-Modified-Since"] = seen.modified
    url = f"{suite.place}/{path}"
    seconds = _RELEASE_SECONDS if most_bytes == _MOST_RELEASE else _PACKED_SECONDS
    answer = ask(url, headers=headers, login=suite.login, packed=True, seconds=seconds, most_bytes=most_bytes)
    if answer.status in (401, 403) and suite.login:
        raise DeniedError(f"{url}: status {answer.status}")
    if answer.status not in (200, 304, 404, 410):
        raise OutsideError(f"{url}: status {answer.status}")
    return answer


def _signed(answer: Answer, keyring: Path | None) -> bytes:
    """What stands between the lines of a signature; with a keyring only if one of its keys made it."""
    if keyring is None:
        text = answer.body.decode(errors="replace")
        match = re.search(
            r"-----BEGIN PGP SIGNED MESSAGE-----.*?\n\r?\n(.*?)\n-----BEGIN PGP SIGNATURE-----", text, re.S
        )
        return re.sub(r"^- ", "", match[1], flags=re.M).encode() if match else answer.body
    with tempfile.TemporaryDirectory(prefix="testyard-release-") as folder:
        given, made = Path(folder) / "given", Path(folder) / "made"
        given.write_bytes(answer.body)
        argv = ["gpgv", "--status-fd", "1", "--keyring", str(keyring), "--output", str(made), str(given)]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OutsideError(f"gpgv: {error}") from error
        # its exit code is that of the worst signature; one good one is enough, as for apt
        if b"[GNUPG:] VALIDSIG " not in done.stdout or not made.is_file():
            raise OutsideError(f"{answer.url}: is not signed by a key of {keyring}")
        return made.read_bytes()


def _sources_of(text: str, components: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Of each component the smallest form that can be read."""
    hashes, inside = {}, False
    for line in text.splitlines():
        if not line.startswith(" "):
            inside = line.strip().upper() == "SHA256:"
        elif inside and (match := _HASH_LINE.fullmatch(line.rstrip())):
            hashes[match[3]] = match[1].lower()
    by_hash = re.search(r"^Acquire-By-Hash: *yes *$", text, re.M | re.I) is not None
    found = {}
    for component in components:
        for ending in (".xz", ".gz", ""):
            path = f"{component}/source/Sources{ending}"
            if path in hashes:
                sha256 = hashes[path]
                found[component] = (
                    f"{component}/source/by-hash/SHA256/{sha256}" if by_hash else path, sha256
                )  # fmt: skip
                break
    return found


def _plain(data: bytes, url: str) -> Iterator[bytes]:
    """Unpacked, in pieces of at most `_PIECE`: a few bytes may become very many."""
    unpacked = iter([data])
    if data.startswith(b"\xfd7zXZ"):
        unpacked = _unxz(data)
    elif data.startswith(b"\x1f\x8b"):
        unpacked = _gunzip(data)
    size = 0
    try:
        for piece in unpacked:
            size += len(piece)
            if size > _MOST_PLAIN:
                raise OutsideError(f"{url}: more than {_MOST_PLAIN} bytes when unpacked")
            yield piece
    except (lzma.LZMAError, zlib.error) as error:
        raise OutsideError(f"{url}: cannot be unpacked: {error}") from error


def _unxz(data: bytes) -> Iterator[bytes]:
    unpacker = lzma.LZMADecompressor(memlimit=256 * 1024 * 1024)
    piece = unpacker.decompress(data, _PIECE)
    while piece:
        yield piece
        piece = b"" if unpacker.eof else unpacker.decompress(b"", _PIECE)
    if not unpacker.eof:
        raise lzma.LZMAError("its end is missing")
    if unpacker.unused_data.startswith(b"\xfd7zXZ"):  # packed by several processors
        yield from _unxz(unpacker.unused_data)


def _gunzip(data: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    given = io.BytesIO(data)
    while not unpacker.eof:
        packed = unpacker.unconsumed_tail or given.read(_PIECE)
        if not packed:
            raise zlib.error("its end is missing")
        yield unpacker.decompress(packed, _PIECE)
    rest = unpacker.unused_data + given.read()
    if rest.startswith(b"\x1f\x8b"):
        yield from _gunzip(rest)


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest
    yield b""


def _paragraphs(lines: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    name = version = ""
    current = True
    for line in lines:
        if line.startswith(b"Package:"):
            name = line[8:].strip().decode(errors="replace")
        elif line.startswith(b"Version:"):
            version = line[8:].strip().decode(errors="replace")
        elif line.startswith(b"Extra-Source-Only:"):
            current = False  # kept for its licence only
        elif not line.strip():
            if name and version and current:
                yield name, version
            name, version, current = "", "", True

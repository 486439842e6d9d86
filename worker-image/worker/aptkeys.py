# SPDX-License-Identifier: AGPL-3.0-or-later
"""The keys that archives of requests are signed with: from the operator's folder, or from a key server."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from testyard.adapters.fetch import fetch
from testyard.archives import Archives
from testyard.errors import LastingTestbedError, RequestError, TestbedError
from testyard.jsonobject import parse_object
from testyard.ppa import Ppa
from worker import process

log = logging.getLogger(__name__)

#: Digits of a whole fingerprint. Fewer can be forged: two keys with the same last 8 are made in seconds.
_WHOLE = (40, 64)


def key_of(ppa: Ppa, settings: Archives, get: Callable[[str], bytes | None] = fetch) -> bytes:
    """The archive's key or keys, in binary form.

    Raises RequestError if there is none or another than the request names, TestbedError if a server
    does not answer.
    """
    found = _from_folder(ppa, settings.keys)
    if found:
        return found
    fingerprint = ppa.fingerprint or _told(ppa, settings, get)
    if not fingerprint:
        raise RequestError("ppas", f"no key of {ppa} is known: name its fingerprint, {ppa}:FINGERPRINT")
    if len(fingerprint) not in _WHOLE:
        raise RequestError("ppas", f"the fingerprint of {ppa}'s key must be whole, {_WHOLE[0]} digits")
    data = get(settings.key_url.format(fingerprint=fingerprint)) if settings.key_url else None
    if data is None:
        raise RequestError("ppas", f"there is no key {fingerprint}, which {ppa} is to be signed with")
    return _only(data, lambda one: one == fingerprint, f"{ppa}: the key server's answer is not {fingerprint}")


def _from_folder(ppa: Ppa, folder: Path | None) -> bytes | None:
    if folder is None:
        return None
    names = [f"{ppa.fingerprint}.asc"] if ppa.fingerprint else []
    for path in (folder / name for name in (*names, f"{ppa.owner}-{ppa.name}.asc")):
        if not path.is_file():
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            raise LastingTestbedError(f"worker.archives.keys: {path}: {error.strerror}") from error
        return _only(
            data, lambda one: one.endswith(ppa.fingerprint), f"{ppa} is signed with another key than named"
        )
    return None


def _told(ppa: Ppa, settings: Archives, get: Callable[[str], bytes | None]) -> str:
    """The fingerprint that the archives' own service tells of a public one; empty if it knows none."""
    if not settings.about_url or not ppa.public:
        return ""
    url = settings.about_url.format(owner=ppa.owner, name=ppa.name)
    answer = get(url)
    if answer is None:
        raise RequestError("ppas", f"there is no archive {ppa}")
    try:
        return str(parse_object(answer).get("signing_key_fingerprint") or "").upper()
    except ValueError as error:
        raise TestbedError(f"{url}: {error}") from error


def _only(data: bytes, wanted: Callable[[str], bool], problem: str) -> bytes:
    """The keys with a wanted fingerprint, and nothing else of what was given."""
    with tempfile.TemporaryDirectory(prefix="testyard-keys-") as home:
        given, made = Path(home) / "given", Path(home) / "made"
        given.write_bytes(data)
        gpg = ["gpg", "--homedir", home, "--batch", "--no-tty", "--quiet", "--no-autostart"]
        process.run([*gpg, "--import", str(given)], timeout=60, codes=(0, 2))
        found = [one for one in _fingerprints(process.run([*gpg, "--with-colons", "-k"])) if wanted(one)]
        if not found:
            raise RequestError("ppas", problem)
        process.run([*gpg, "--output", str(made), "--export", *found])
        return made.read_bytes()


def _fingerprints(listing: str) -> list[str]:
    """Those of primary keys: each is in the first line ``fpr`` after a line ``pub``."""
    found, primary = [], False
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] == "fpr" and primary and len(fields) > 9:
            found.append(fields[9].upper())
        if fields[0] in ("pub", "fpr"):
            primary = fields[0] == "pub"
    return found

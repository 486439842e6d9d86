# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a delivery comes from who knows the project's secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress

from testyard.intake.projects import Project

#: Stands in for a project that nobody has named, so that it takes as long to refuse.
_NOBODY = (secrets.token_hex(32),)

#: What stands before a signing token whose key is in base64, and seconds for which a signature is taken:
#: later, what was said before is known by itself.
_MARK = b"whsec_"
_OLDEST = 3600.0
#: Headers that hold the HMAC in hex, with what stands before it.
_SHA256 = {
    "github": (("x-hub-signature-256", "sha256="),),
    "forgejo": (("x-forgejo-signature", ""), ("x-gitea-signature", ""), ("x-hub-signature-256", "sha256=")),
    "gitea": (("x-gitea-signature", ""), ("x-hub-signature-256", "sha256=")),
}


def signed(project: Project | None, forge: str, headers: Mapping[str, str], body: bytes) -> bool:
    """True if one of the project's secrets signed the body; in constant time, also for no project."""
    keys = [secret.encode() for secret in (project.secrets if project else _NOBODY)]
    if forge == "gitlab":
        good = _token(keys, headers.get("x-gitlab-token", "")) | _standard(keys, headers, body)
    else:
        good = _sha256(keys, _given(forge, headers), body)
        if not good and project and project.sha1 and forge == "github":
            good = _sha1(keys, headers.get("x-hub-signature", ""), body)
    return good and project is not None


def _given(forge: str, headers: Mapping[str, str]) -> str:
    for name, prefix in _SHA256[forge]:
        value = headers.get(name, "")
        if value.startswith(prefix) and value:
            return value.removeprefix(prefix)
    return ""


def _sha256(keys: list[bytes], given: str, body: bytes) -> bool:
    return _fits([hmac.digest(key, body, "sha256").hex().encode() for key in keys], given.lower().encode())


def _sha1(keys: list[bytes], given: str, body: bytes) -> bool:
    found = [b"sha1=" + hmac.digest(key, body, "sha1").hex().encode() for key in keys]
    return _fits(found, given.lower().encode())


def _token(keys: list[bytes], given: str) -> bool:
    # digests of both: of strings of different length, compare_digest tells the length
    said = hashlib.sha256(given.encode("latin-1", "replace")).digest()
    return _fits([hashlib.sha256(key).digest() for key in keys], said)


def _standard(keys: list[bytes], headers: Mapping[str, str], body: bytes) -> bool:
    """GitLab's signing token, after Standard Webhooks: id, time and body are signed."""
    when, given = headers.get("webhook-timestamp", ""), headers.get("webhook-signature", "").split()[:5]
    if not (given and when.isdecimal() and abs(time.time() - float(when[:20])) < _OLDEST):
        return False
    said = f"{headers.get('webhook-id', '')}.{when}.".encode("latin-1") + body
    right = [b"v1," + base64.b64encode(hmac.digest(key, said, "sha256")) for key in [*keys, *_decoded(keys)]]
    return any(_fits(right, each.encode("latin-1")) for each in given)


def _decoded(keys: list[bytes]) -> list[bytes]:
    found = []
    for key in keys:
        if key.startswith(_MARK):
            with suppress(binascii.Error):
                found.append(base64.b64decode(key.removeprefix(_MARK), validate=True))
    return found


def _fits(right: list[bytes], said: bytes) -> bool:
    good = False
    for each in right:  # all of them, whichever fits
        good |= hmac.compare_digest(each, said)
    return good

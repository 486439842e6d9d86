# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets are taken out of a log before it is written, also those that its pieces cut in two."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from testyard.request import TestRequest
from testyard.secrets import MASK, forms_of, secrets_in
from testyard.settings import Settings

_MASK = MASK.encode()


class Masker:
    """Masks a stream of bytes, piece by piece. For use by one thread.

    What may be the beginning of a secret is kept back until it is plain what it is. A secret has no
    line end, so a whole line is never kept back.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret.encode(errors="surrogateescape") for secret in secrets}
        self._secrets = sorted(secret for secret in known if secret and b"\n" not in secret)
        self._longest = max(map(len, self._secrets), default=0)
        # of two that begin alike the longer one is looked for first
        by_length = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, by_length)))
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """The next piece, masked, without an end that may begin a secret."""
        if not self._secrets:
            return data
        text = self._kept + data
        return self._masked(text, self._doubtful(text, 0))

    def rest(self) -> bytes:
        """What was kept back, when nothing follows."""
        text = self._kept
        return self._masked(text, len(text))

    def _masked(self, text: bytes, doubtful: int) -> bytes:
        shown, done = [], 0
        for found in self._found(text):
            if found.start() >= doubtful:
                break
            shown += [text[done : found.start()], _MASK]
            done = found.end()
            if done > doubtful:
                doubtful = self._doubtful(text, done)
        self._kept = text[doubtful:]
        return b"".join([*shown, text[done:doubtful]])

    def _found(self, text: bytes) -> Iterable[re.Match[bytes]]:
        # a search for each alone is 30 times as fast as one for all at once; most logs hold none
        return self._pattern.finditer(text) if any(secret in text for secret in self._secrets) else ()

    def _doubtful(self, text: bytes, start: int) -> int:
        """Where the first beginning of a secret stands that the text's end cuts; else the text's length."""
        first = max(start, text.rfind(b"\n") + 1, len(text) - self._longest + 1)
        return next((place for place in range(first, len(text)) if self._begins(text[place:])), len(text))

    def _begins(self, text: bytes) -> bool:
        place = bisect_left(self._secrets, text)
        # a secret that is the text itself is whole, but a longer one may begin with it
        return any(secret.startswith(text) and secret != text for secret in self._secrets[place : place + 2])


def secrets_of(request: TestRequest, settings: Settings) -> tuple[str, ...]:
    """What no log may show: the request's secrets, and the passwords of this worker."""
    passwords = [settings.store.key.get_secret_value()]
    for url in (settings.broker.url, settings.database.url):
        try:
            password = urlsplit(url.get_secret_value()).password or ""
        except ValueError:
            continue
        passwords += [password, unquote(password)]
    return (*secrets_in(request.parameters), *(form for word in passwords for form in forms_of(word)))

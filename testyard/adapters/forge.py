# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the clients of all forges have in common: one call, and what its answer means."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlencode, urljoin, urlsplit

from testyard.adapters.outside import LONGEST_PAUSE, Answer, Outside, pause_asked
from testyard.errors import ForgeError, OutsideError, TooMuchError
from testyard.intake.report import Report

#: Seconds that a forge may take for one call, and for all calls that show one status: half of the time for
#: which a row is held. Whoever takes longer may show an older state after a newer one.
SECONDS = 20.0
SHOW_SECONDS = 30.0
_MOST_BYTES = 4 * 1024 * 1024
#: A project that was renamed or moved answers with its new address.
_MOVED = (301, 302, 307, 308)
#: How GitHub says in words that there was too much of late.
_LIMITED = re.compile(r"rate limit|abuse detection", re.IGNORECASE)


class Forge(Protocol):
    """Where a project lives. For any number of threads."""

    def show(self, project: str, report: Report, memo: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
        """Let a commit's status say so; showing the same twice does no harm.

        Returns what is to be given as ``memo`` next time. ``first`` is true if nothing can have been shown
        for this commit and context yet. All of it takes `SHOW_SECONDS` at most. ``strays`` in ``memo`` are
        memos of what was shown in parallel: that is ended. Raises ForgeError.
        """

    def pull_request(self, project: str, number: int) -> dict[str, Any]:
        """A pull or merge request as the forge's hook tells of it. Raises ForgeError."""

    def may_push(self, project: str, login: str) -> bool:
        """True if somebody may push to a project; false if we may not know. Raises ForgeError."""

    def file(self, project: str, path: str, ref: str) -> bytes | None:
        """A file of a project at a commit or branch; None if there is none. Raises ForgeError."""


@dataclass(frozen=True)
class Calls:
    """One forge's API at ``api``. An operator has named it: it may be internal. Nothing else is asked."""

    api: str
    outside: Outside
    until: float | None = None

    @classmethod
    def to(cls, api: str) -> Calls:
        """Calls to the host of ``api`` only."""
        host = urlsplit(api).hostname or ""
        return cls(
            api.rstrip("/"),
            Outside(inside=(host,), hosts=(host,), seconds=SECONDS, most_bytes=_MOST_BYTES),
        )

    def within(self, seconds: float) -> Calls:
        """The same, for all calls that are made with it together."""
        return replace(self, until=time.monotonic() + seconds)

    def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        **query: str,
    ) -> Any:
        """The JSON that the forge answers with. Raises ForgeError."""
        url = f"{self.api}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Accept": "application/json", "User-Agent": "testyard", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = b"" if body is None else json.dumps(body).encode()
        answer = self._answer(method, url, sent, data)
        if answer.status in _MOVED:
            answer = self._answer(method, self._moved_to(url, answer), sent, data)
        if not 200 <= answer.status < 300:
            raise _refusal(f"{method} {path}", answer)
        try:
            return json.loads(answer.body) if answer.body else {}
        except (ValueError, RecursionError) as error:
            raise ForgeError(f"{method} {path}: the answer is no JSON") from error

    def _answer(self, method: str, url: str, headers: Mapping[str, str], data: bytes) -> Answer:
        try:
            return self._in_time().fetch(url, method=method, headers=headers, body=data)
        except TooMuchError as error:
            raise ForgeError(error.brief, lasting=True) from error
        except OutsideError as error:
            raise ForgeError(error.brief, away=True) from error

    def _in_time(self) -> Outside:
        left = self.outside.seconds if self.until is None else self.until - time.monotonic()
        if left <= 0:
            raise ForgeError(f"{urlsplit(self.api).hostname}: took too long", away=True)
        return self.outside if left >= self.outside.seconds else replace(self.outside, seconds=left)

    def _moved_to(self, url: str, answer: Answer) -> str:
        place = urljoin(url, answer.headers.get("location", ""))
        if urlsplit(place)[:2] != urlsplit(url)[:2]:  # our token is for nobody else
            raise ForgeError(f"it moved to another host ({answer.status})", lasting=True)
        return place


def file_of(calls: Calls, address: str, headers: Mapping[str, str], ref: str) -> bytes | None:
    """What stands in base64 in the forge's answer, which is the same for all; None if nothing is there."""
    try:
        found = calls.call("GET", address, headers, ref=ref)
        return base64.b64decode(found["content"])
    except ForgeError as error:
        if ": status 404" in error.brief:
            return None
        if isinstance(error.__cause__, OutsideError) and ": more than " in error.brief:
            raise ForgeError(f"the file is too large: {error.brief}", lasting=True) from error
        raise
    except (KeyError, TypeError, ValueError) as error:  # a directory, or a link
        raise ForgeError("the answer is no file", lasting=True) from error


def _refusal(action: str, answer: Answer) -> ForgeError:
    text = f"{action}: status {answer.status}{_said(answer.body)}"
    pause = _pause(answer)
    if answer.status == 429 or (answer.status == 403 and (pause is not None or _LIMITED.search(text))):
        # GitHub's secondary limit may come without a header: a minute at least, it says then
        return ForgeError(text, retry_after=pause or 60.0)
    if answer.status in (400, 422):
        return ForgeError(text, lasting=True)
    if answer.status in (401, 403, 404, 410):
        return ForgeError(text, refused=True, retry_after=pause)
    return ForgeError(text, retry_after=pause)


def _said(body: bytes) -> str:
    """The forge's own words, which may be anything: 200 printable characters at most."""
    try:
        value = json.loads(body)
        said = value.get("message") or value.get("error") or "" if isinstance(value, dict) else ""
    except (ValueError, RecursionError):
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(said)[:200])
    return f": {shown}" if shown else ""


def _pause(answer: Answer) -> float | None:
    """Seconds that the forge asks us to wait: Retry-After in either form, or GitHub's own headers."""
    if answer.headers.get("retry-after") or answer.headers.get("x-ratelimit-remaining") != "0":
        return pause_asked(answer.headers)
    reset = answer.headers.get("x-ratelimit-reset", "")
    seconds = float(reset) - time.time() if reset.isdigit() else 60.0
    return min(max(seconds, 1.0), LONGEST_PAUSE)

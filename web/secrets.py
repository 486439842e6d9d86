# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page must not show: credentials in request parameters, and whatever is private."""

from __future__ import annotations

from dataclasses import replace

from testyard.event import PRIVATE_PACKAGE
from testyard.index import RequestRow, RunRow
from testyard.secrets import MASK, masked, masked_text, secrets_in
from testyard.store import is_private


def shown_request(row: RequestRow, *, whole: bool = False) -> RequestRow:
    """The request without credentials, also where its own log repeats them; a private one bare.

    ``whole``: whoever asks may know what a private one is.
    """
    if hidden_request(row) and not whole:
        return replace(
            row, package=PRIVATE_PACKAGE, worker="", reason="", parameters={},
            phases=(), log_tail="", log_end=0, container=None, path=None,
        )  # fmt: skip
    secrets = secrets_in(row.parameters)
    return replace(
        row,
        parameters=masked(row.parameters),
        reason=_without(masked_text(row.reason), secrets),
        log_tail=_without(row.log_tail, secrets),
    )


def hidden_request(row: RequestRow) -> bool:
    """True if only named people may see what this request is."""
    named = any(row.parameters.get(key) for key in ("swiftuser", "readable-by"))
    return row.package == PRIVATE_PACKAGE or named or is_private(row.container or "")


def public_runs(rows: tuple[RunRow, ...]) -> tuple[RunRow, ...]:
    """The runs that anyone may see, without credentials."""
    return tuple(
        replace(row, env=masked_text(row.env), facts=masked(row.facts))
        for row in rows
        if not is_private(row.container)
    )


def _without(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text

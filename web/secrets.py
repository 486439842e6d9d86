# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page must not show: credentials in request parameters, and whatever is private."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from testyard.event import PRIVATE_PACKAGE
from testyard.index import RequestRow, RunRow
from testyard.store import is_private

MASK = "***"

#: Longer values are cut before they are shown.
_LONGEST = 4000

# user:token@ before an archive or a host, and a bare token@ after a scheme
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@|[^:@/\s,]+:[^@/\s]+@")
_SECRET_NAME = re.compile(r"(?i)\b(\w*(?:token|secret|passw|api_?key|credential)\w*)=[^,\s]*")


def masked_text(text: str) -> str:
    """``user:token@owner/name`` → ``***@owner/name``; ``API_TOKEN=x`` → ``API_TOKEN=***``."""
    # the patterns take time with the square of the length: 0.04 s for this much, 4 s for ten times as much
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return _SECRET_NAME.sub(rf"\1={MASK}", _CREDENTIALS.sub(f"{MASK}@", text))


def masked(value: Any) -> Any:
    """The same in every string of a JSON value."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {str(key): masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return value


def shown_request(row: RequestRow) -> RequestRow:
    """The request without credentials, also where its own log repeats them; a private one bare."""
    if hidden_request(row):
        return replace(
            row, package=PRIVATE_PACKAGE, worker="", reason="", parameters={},
            phases=(), log_tail="", log_end=0, container=None, path=None,
        )  # fmt: skip
    secrets = _credentials_of(row.parameters)
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


def _credentials_of(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    ppas = parameters.get("ppas")
    items = [item for item in ppas if isinstance(item, str)] if isinstance(ppas, list) else []
    pairs = (item.rpartition("@")[0] for item in items)
    return tuple(secret for pair in pairs for secret in (pair, pair.partition(":")[2]) if secret)


def _without(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text

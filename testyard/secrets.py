# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is secret in a request, and how it is masked: for logs, messages and pages alike.

Secret are credentials before an archive or a host (``user:token@…``), and the values of variables
whose names say so: ``API_TOKEN``, ``DB_PASSWORD``, ``CLIENT_SECRET``, ``SIGNING_KEY``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

MASK = "***"

#: A shorter value is masked where it stands with its name, and not wherever its letters appear:
#: ``DB_PASSWORD=test`` would make every log unreadable.
SHORTEST = 6

#: Longer values are cut before they are shown.
_LONGEST = 4000

_NAME = r"\w*(?:token|secret|passw|passphrase|api_?key|credential)\w*|\w*key"
# user:token@ before an archive or a host, and a bare token@ after a scheme
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@|[^:@/\s,]+:[^@/\s]+@")
_SECRET_NAME = re.compile(rf"(?i)\b({_NAME})=[^,\s]*")
_SECRET_ITEM = re.compile(rf"(?is)({_NAME})=(.*)")


def masked_text(text: str) -> str:
    """``user:token@owner/name`` → ``***@owner/name``; ``API_TOKEN=x`` → ``API_TOKEN=***``."""
    # the patterns take time with the square of the length: 0.04 s for this much, 4 s for ten times as much
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return _SECRET_NAME.sub(rf"\1={MASK}", _CREDENTIALS.sub(f"{MASK}@", text))


def masked_variable(item: str) -> str:
    """``NAME=value``: all of a secret value goes, blanks and commas too; another one is as it was."""
    found = _SECRET_ITEM.fullmatch(item)
    return f"{found[1]}={MASK}" if found else item


def _masked_item(item: str) -> str:
    return masked_variable(item) if _SECRET_ITEM.fullmatch(item) else masked_text(item)


def masked(value: Any) -> Any:
    """The same in every string of a JSON value."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {str(key): masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked_item(item) if isinstance(item, str) else masked(item) for item in value]
    return value


def masked_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A request's parameters with their archives and variables masked; nothing is cut short."""
    shown = dict(parameters)
    for key, mask in (("ppas", _masked_item), ("env", masked_variable)):
        if isinstance(shown.get(key), list):
            shown[key] = [mask(item) if isinstance(item, str) else item for item in shown[key]]
    return shown


def has_secrets(parameters: Mapping[str, Any]) -> bool:
    """True if some of it would be masked, or has been."""
    return MASK in json.dumps([masked(parameters), masked_parameters(parameters)])


def secrets_in(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The secret values in a request's parameters, in each form in which a log may repeat them."""
    found = [*_credentials(_texts(parameters.get("ppas"))), *_variables(_texts(parameters.get("env")))]
    return tuple(dict.fromkeys(form for value in found for form in forms_of(value)))


def forms_of(value: str) -> tuple[str, ...]:
    """A secret as it is, percent-encoded, and in base64 as HTTP sends it; none of one too short."""
    if len(value) < SHORTEST:
        return ()
    encoded = base64.b64encode(value.encode(errors="surrogateescape")).decode()
    return value, quote(value, safe=":", errors="surrogateescape"), encoded


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def _credentials(archives: list[str]) -> Iterator[str]:
    for archive in archives:
        pair, at, _ = archive.rpartition("@")
        if at:
            yield from (pair, pair.partition(":")[2])


def _variables(items: list[str]) -> Iterator[str]:
    for item in items:
        found = _SECRET_ITEM.fullmatch(item)
        if found:
            yield found[2]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much the index takes of what others wrote; the store keeps all of it.

Test code writes summary, testinfo and log, and so the names in them. Lengths are in characters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from testyard.errors import ResultError
from testyard.run import PhaseTime

#: A run's tests, its phases (two for each test, and its own) and its facts.
MOST_SUBTESTS = 1000
MOST_PHASES = 2 * MOST_SUBTESTS + 20
MOST_FACTS = 50

#: One text: a name, a reason, a version, a fact.
LONGEST_TEXT = 500
#: The command that runs a test again; the site shows no longer texts.
LONGEST_COMMAND = 4000
#: A list in one column: triggers, environment.
LONGEST_LIST = 32 * 1024
#: A request's parameters as JSON: the largest body, each of its characters escaped.
LONGEST_PARAMETERS = 6 * 262_144

CUT = "…"


def text(value: str) -> str:
    """At most `LONGEST_TEXT`, with ``…`` where it was cut; no column takes NUL."""
    value = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - len(CUT)] + CUT


def joined(items: Sequence[str], separator: str) -> str:
    """As many whole items as fit into `LONGEST_LIST`."""
    whole = separator.join(items).replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(whole) <= LONGEST_LIST:
        return whole
    return whole[: max(whole.rfind(separator, 0, LONGEST_LIST + 1), 0)]


def facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """The first `MOST_FACTS`. What is longer than one text, as JSON, becomes the text of its beginning."""
    return {text(key): _fact(value) for key, value in list(values.items())[:MOST_FACTS]}


def command(line: str) -> dict[str, str]:
    """The fact ``reproduce``; none if there is no line, or a longer one: a part of it is of no use."""
    return {"reproduce": line} if 0 < len(line) <= LONGEST_COMMAND and "\0" not in line else {}


def _fact(value: Any) -> Any:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text(shown) if isinstance(value, str) or len(shown) > LONGEST_TEXT else value


def phase(value: PhaseTime) -> PhaseTime:
    """The same with its test's name as `text`."""
    return value if value.test is None else replace(value, test=text(value.test))


def phases(values: Sequence[PhaseTime]) -> list[dict[str, str | float | None]]:
    """The first `MOST_PHASES` as JSON."""
    return [phase(value).to_json() for value in values[:MOST_PHASES]]


def key(field: str, value: str) -> str:
    """``value`` as it is. Raises ResultError if a column that is searched cannot take it."""
    if len(value) > LONGEST_TEXT or "\0" in value:
        raise ResultError(f"{field}: longer than {LONGEST_TEXT} characters, or with NUL in it")
    return value


def parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """A request's parameters as they are. Raises ResultError if no request can have so many."""
    if len(json.dumps(values)) > LONGEST_PARAMETERS:
        raise ResultError("parameters: more than a request can hold")
    return dict(values)

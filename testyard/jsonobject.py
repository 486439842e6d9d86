# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading a JSON object that somebody else wrote, so that every part can store and send it again."""

from __future__ import annotations

import json
from typing import Any, NoReturn

#: No request or message that was ever seen nests more than four deep. A reader with less stack left
#: than ours must be able to take what we took.
MAX_DEPTH = 50


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The object in ``text``. Raises ValueError as `parse_value`, and for what is no object."""
    value = parse_value(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  what was read is wrong, not how we were called
    return value


def parse_value(text: str | bytes, *, keys_once: bool = False) -> Any:
    """The JSON value in ``text``.

    Raises ValueError for what is no JSON (``NaN`` and ``Infinity`` are none), nested deeper than
    `MAX_DEPTH`, or holds half a surrogate pair, which no UTF-8 can carry. Of a key that an object has
    twice the last one counts, as in other readers; with ``keys_once`` that is a ValueError, too.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once if keys_once else None)
        if _depth(value) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # 1e999 reads as infinity
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair") from error
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH}") from error
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:80]!r} is given twice in one object")
        found[name] = value
    return found


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth

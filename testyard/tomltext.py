# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing TOML, which Python only reads: tables of texts, numbers, lists, tables and lists of tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def toml_text(value: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """A TOML document. None and empty tables are left out. Raises TypeError for what TOML has no form for."""
    plain, tables, lists = [], [], []
    for key, item in value.items():
        if isinstance(item, Mapping):
            tables.append((key, item))
        elif isinstance(item, Sequence) and not isinstance(item, str) and _are_tables(item):
            lists += [(key, each) for each in item]
        elif item is not None:
            plain.append(f"{_text(key)} = {_value(item)}\n")
    parts = ["".join(plain)]
    for pattern, rows in (("[{}]", tables), ("[[{}]]", lists)):
        for key, item in rows:
            inner = (*path, key)
            body = toml_text(item, inner)
            if body or pattern == "[[{}]]":
                # a table that only holds others needs no line of its own
                own = body.startswith("[") and pattern == "[{}]"
                head = "" if own else f"{pattern.format('.'.join(map(_text, inner)))}\n"
                parts.append(f"{head}{body}")
    return "\n".join(filter(None, parts))


def _are_tables(items: Sequence[Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) for item in items)


def _value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return _text(value, bare=False)
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(item) for item in value)}]"
    raise TypeError(f"TOML has no form for {type(value).__name__}")


def _text(text: str, *, bare: bool = True) -> str:
    """A key, or a text in JSON's escapes, all of which TOML knows but for DEL."""
    if bare and text and text.isascii() and text.replace("-", "").replace("_", "").isalnum():
        return text
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")

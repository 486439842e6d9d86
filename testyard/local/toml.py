# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes the small part of TOML that settings need: sections of strings, numbers, lists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | float | bool | Path | Sequence[str]
Sections = Mapping[str, Mapping[str, Value]]


def render_toml(sections: Sections) -> str:
    """The sections as TOML text; empty ones are left out."""
    blocks = []
    for section, values in sections.items():
        if values:
            lines = [f"[{section}]", *(f"{key} = {_render(value)}" for key, value in values.items())]
            blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _render(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return _string(str(value))
    if isinstance(value, int | float):
        return repr(value)
    return f"[{', '.join(_string(item) for item in value)}]"


def _string(text: str) -> str:
    # JSON's strings are TOML's, except DEL, which TOML wants escaped, and escaped surrogate pairs,
    # which ensure_ascii=False avoids
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

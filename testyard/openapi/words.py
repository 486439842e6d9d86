# SPDX-License-Identifier: AGPL-3.0-or-later
"""pydantic's findings about what was sent, in words, each with its field and without the value."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

_WORDS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "model_type": "must be an object",
    "string_too_short": "must not be empty",
    "string_too_long": "at most {max_length} characters are taken",
    "too_long": "at most {max_length} items are taken",
    "too_short": "at least {min_length} is needed",
}


def field_errors(error: ValidationError, model: type[BaseModel], prefix: str) -> list[tuple[str, str]]:
    """Field and problem of each finding; ``prefix`` stands before the fields, such as ``requests[3]``."""
    return [(_field(found["loc"], prefix), _problem(found, model)) for found in error.errors()]


def _field(place: tuple[int | str, ...], prefix: str) -> str:
    text = prefix
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:80]}" if text else part[:80]
    return text or "body"


def _problem(found: object, model: type[BaseModel]) -> str:
    assert isinstance(found, dict)
    kind, context = found["type"], found.get("ctx") or {}
    if kind == "extra_forbidden":
        known = sorted(field.alias or name for name, field in model.model_fields.items())
        return f"there is no such field; known: {', '.join(known)}"
    words = _WORDS.get(kind)
    return words.format(**context) if words else str(found["msg"]).removeprefix("Value error, ")[:200]

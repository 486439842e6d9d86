# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a change will come to: defaults, what is not known yet, and what makes a new resource.

As the SDK of the official provider does it: what is computed and not given is unknown for a new
resource and stays as it was for one that is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.openstack.provider.schema import Block, Nested
from tests.openstack.provider.values import UNKNOWN, Values, complete, order

# attribute and block names, and positions in a list
Path = tuple[str | int, ...]


def plan(block: Block, prior: Values | None, proposed: Values, config: Values) -> Values:
    """The state after applying, as far as it is known now. ``prior`` is None for a new resource."""
    planned: Values = {}
    for name, attribute in block.attributes.items():
        value = proposed.get(name)
        if config.get(name) is None:
            if attribute.default is not None:
                value = attribute.default
            elif attribute.computed and prior is None:
                value = UNKNOWN
        elif attribute.hashed:
            value = digest(config[name])
        planned[name] = value
    for name, nested in block.blocks.items():
        before = None if prior is None else prior.get(name)
        planned[name] = _plan_nested(nested, before, proposed.get(name), config.get(name))
    return complete(block, planned)


def _plan_nested(nested: Nested, prior: Any, proposed: Any, config: Any) -> Any:
    if proposed is UNKNOWN or config is UNKNOWN:
        return UNKNOWN
    if nested.nesting == "single":
        return None if proposed is None else plan(nested.block, prior, proposed, config or proposed)
    if nested.computed and not config:
        return UNKNOWN if prior is None else prior
    given = proposed or []
    settings = config if config and len(config) == len(given) and nested.nesting == "list" else given
    return [
        plan(nested.block, _earlier(nested, prior or [], position, one), one, setting)
        for position, (one, setting) in enumerate(zip(given, settings, strict=True))
    ]


def _earlier(nested: Nested, prior: list[Values], position: int, item: Values) -> Values | None:
    """What ``item`` was before: by position in a list, by what is given in a set."""
    if nested.nesting == "list":
        return prior[position] if position < len(prior) else None
    given = [name for name, attribute in nested.block.attributes.items() if not attribute.computed]
    return next((one for one in prior if all(one.get(name) == item.get(name) for name in given)), None)


def digest(text: Any) -> Any:
    """What the state keeps of ``text``: its SHA-1, as the official provider does with user data."""
    if not isinstance(text, str):
        return text
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def replacements(block: Block, prior: Mapping[str, Any], planned: Mapping[str, Any]) -> Iterator[Path]:
    """Paths of what changes and cannot be changed in place."""
    for name, attribute in block.attributes.items():
        if attribute.replaces and prior.get(name) != planned.get(name):
            yield (name,)
    for name, nested in block.blocks.items():
        before, after = prior.get(name), planned.get(name)
        if before == after or nested.nesting == "single":
            continue
        if nested.nesting == "list" and after is not UNKNOWN and len(before or []) == len(after or []):
            for position, (old, new) in enumerate(zip(before or [], after or [], strict=True)):
                for path in replacements(nested.block, old, new):
                    yield (name, position, *path)
        elif nested.replaces or _fixed(nested.block, before) != _fixed(nested.block, after):
            # an item that comes or goes has no path; neither has an item of a set
            yield (name,)


def _fixed(block: Block, items: Any) -> Any:
    """What of ``items`` cannot be changed in place, in one order."""
    if items is UNKNOWN:
        return UNKNOWN if any(attribute.replaces for attribute in block.attributes.values()) else []
    names = [name for name, attribute in block.attributes.items() if attribute.replaces]
    parts = [{name: item[name] for name in names if item.get(name)} for item in items or []]
    return sorted(filter(None, parts), key=order)

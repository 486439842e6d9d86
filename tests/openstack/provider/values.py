# SPDX-License-Identifier: AGPL-3.0-or-later
"""terraform's values in Python: what is known, what is not yet, and how they travel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tests.openstack.provider.schema import Block, Type

# A resource's values by attribute and block; a block that repeats is a list, a single one a dict or None.
Values = dict[str, Any]


class Unknown(Enum):
    """A value that only applying will tell."""

    UNKNOWN = "known after apply"


UNKNOWN = Unknown.UNKNOWN


def complete(block: Block, values: Mapping[str, Any]) -> Values:
    """``values`` with everything that ``block`` has and nothing else."""
    whole: Values = {name: _shaped(one.type, values.get(name)) for name, one in block.attributes.items()}
    for name, nested in block.blocks.items():
        given = values.get(name)
        if given is UNKNOWN:
            whole[name] = given
        elif nested.nesting == "single":
            whole[name] = None if given is None else complete(nested.block, given)
        else:
            whole[name] = [complete(nested.block, one) for one in given or []]
    return whole


def _shaped(kind: Type, value: Any) -> Any:
    """``value`` with each object's members, sets in one order."""
    if value is None or value is UNKNOWN or isinstance(kind, str):
        return value
    shape, inner = kind
    if shape == "object":
        return {name: _shaped(one, value.get(name)) for name, one in inner.items()}
    if shape == "map":
        return {name: _shaped(inner, one) for name, one in value.items()}
    items = [_shaped(inner, one) for one in value]
    return sorted(items, key=order) if shape == "set" else items


def order(value: Any) -> str:
    """A sort key for the items of a set."""
    return json.dumps(value, sort_keys=True, default=str)


def known(value: Any) -> Any:
    """``value`` with None for all that is unknown."""
    if value is UNKNOWN:
        return None
    if isinstance(value, dict):
        return {key: known(one) for key, one in value.items()}
    if isinstance(value, list):
        return [known(one) for one in value]
    return value


def merge(block: Block, base: Mapping[str, Any], observed: Mapping[str, Any]) -> Values:
    """``base`` with what was ``observed`` in the cloud; nothing stays unknown.

    Where both say nothing, each in its own way (null, "", no items), ``base`` stays: else each plan
    would find a difference. What is computed or has a default is as the cloud says.
    """
    merged = dict(known(dict(base)))
    told = {name for name, one in block.attributes.items() if one.computed or one.default is not None}
    for name, seen in observed.items():
        if seen or merged.get(name) or (name in told and merged.get(name) is None):
            merged[name] = seen
    return complete(block, merged)

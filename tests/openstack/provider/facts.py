# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the bindings do not say of a resource, and how it is put into its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.openstack.provider.schema import Block


@dataclass(frozen=True)
class Facts:
    """Written by hand from a resource's page in the official provider's documentation.

    Names are separated by spaces; ``block.attribute`` is one inside a block. ``replaces`` may name a
    block, too. ``conflicts`` are groups of which one may be given.
    """

    replaces: str = ""
    sensitive: str = ""
    hashed: str = ""
    computed_blocks: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()


def with_facts(block: Block, facts: Facts) -> Block:
    """``block`` as the provider really has it; a region never changes in place.

    Raises ValueError for a name that the resource does not have.
    """
    changes: dict[str, dict[str, Any]] = {}
    for key in ("replaces", "sensitive", "hashed"):
        for name in getattr(facts, key).split():
            changes.setdefault(name, {})[key] = True
    for name, value in facts.defaults.items():
        changes.setdefault(name, {})["default"] = value
    if "region" in block.attributes:
        changes.setdefault("region", {})["replaces"] = True
    for name in facts.computed_blocks.split():
        block = _with_block(block, name, computed=True)
    for name in [name for name in changes if name in block.blocks]:
        block = _with_block(block, name, **changes.pop(name))
    for path, change in changes.items():
        block = _changed(block, path.split("."), change)
    return block


def _with_block(block: Block, name: str, **change: Any) -> Block:
    if name not in block.blocks:
        raise ValueError(f"facts: no block {name}")
    return replace(block, blocks={**block.blocks, name: replace(block.blocks[name], **change)})


def _changed(block: Block, path: list[str], change: Mapping[str, Any]) -> Block:
    name, *rest = path
    if not rest:
        if name not in block.attributes:
            raise ValueError(f"facts: no attribute {name}")
        attributes = {**block.attributes, name: replace(block.attributes[name], **change)}
        return replace(block, attributes=attributes)
    if name not in block.blocks:
        raise ValueError(f"facts: no block {name}")
    nested = block.blocks[name]
    inner = replace(nested, block=_changed(nested.block, rest, change))
    return replace(block, blocks={**block.blocks, name: inner})


def conflict(facts: Facts, config: Mapping[str, Any]) -> str | None:
    """What is wrong with ``config``: a sentence, or None."""
    for group in facts.conflicts:
        given = [name for name in group.split() if config.get(name)]
        if len(given) > 1:
            return f"{' and '.join(given)}: only one of them may be given"
    return None

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a resource has: attributes and blocks, as terraform's provider protocol knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# terraform's own notation of a type: "string", ["set", "string"], ["list", ["object", {…}]]
Type = str | list[Any]
Nesting = Literal["single", "list", "set"]


@dataclass(frozen=True)
class Attribute:
    """One argument or result. ``replaces``: a change makes a new resource (the SDK's ForceNew)."""

    type: Type
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    replaces: bool = False
    hashed: bool = False
    default: Any = None


@dataclass(frozen=True)
class Block:
    """Attributes and nested blocks by name."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    blocks: Mapping[str, Nested] = field(default_factory=dict)


@dataclass(frozen=True)
class Nested:
    """A nested block. ``max_items`` 0: no limit. ``computed``: the cloud fills it in if none is given.

    ``replaces``: one more or one less makes a new resource.
    """

    nesting: Nesting
    block: Block
    min_items: int = 0
    max_items: int = 0
    computed: bool = False
    replaces: bool = False


@dataclass(frozen=True)
class Catalogue:
    """Everything that the provider knows by name. ``source`` says what it was derived from."""

    source: str
    provider: Block
    resources: Mapping[str, Block]
    data_sources: Mapping[str, Block]


def dump_block(block: Block) -> dict[str, Any]:
    """``block`` as JSON has it; what is false or nothing is left out."""
    return {
        "attributes": {name: _given(vars(one)) for name, one in block.attributes.items()},
        "blocks": {
            name: {**_given(vars(one)), "block": dump_block(one.block)} for name, one in block.blocks.items()
        },
    }


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def load_block(document: Mapping[str, Any]) -> Block:
    """The inverse of ``dump_block``."""
    return Block(
        {name: Attribute(**one) for name, one in document["attributes"].items()},
        {
            name: Nested(**{**one, "block": load_block(one["block"])})
            for name, one in document["blocks"].items()
        },
    )


def dump_catalogue(catalogue: Catalogue) -> dict[str, Any]:
    """``catalogue`` as JSON has it."""
    return {
        "source": catalogue.source,
        "provider": dump_block(catalogue.provider),
        "resources": {name: dump_block(one) for name, one in catalogue.resources.items()},
        "data_sources": {name: dump_block(one) for name, one in catalogue.data_sources.items()},
    }


def load_catalogue(document: Mapping[str, Any]) -> Catalogue:
    """The inverse of ``dump_catalogue``."""
    return Catalogue(
        document["source"],
        load_block(document["provider"]),
        {name: load_block(one) for name, one in document["resources"].items()},
        {name: load_block(one) for name, one in document["data_sources"].items()},
    )

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Our own words in the protocol's messages, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tf.gen import tfplugin_pb2 as pb

from tests.openstack.provider.planning import Path
from tests.openstack.provider.schema import Block
from tests.openstack.provider.values import Values, complete
from tests.openstack.provider.wire import decode, encode

_NESTING = {
    "single": pb.Schema.NestedBlock.SINGLE,
    "list": pb.Schema.NestedBlock.LIST,
    "set": pb.Schema.NestedBlock.SET,
}


def schema_message(block: Block) -> Any:
    """``block`` as the schema of a resource, a data source or the provider."""
    return pb.Schema(version=0, block=_block_message(block))


def _block_message(block: Block) -> Any:
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(one.type).encode(),
                required=one.required,
                optional=one.optional,
                computed=one.computed,
                sensitive=one.sensitive,
            )
            for name, one in block.attributes.items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                block=_block_message(one.block),
                nesting=_NESTING[one.nesting],
                min_items=one.min_items,
                max_items=one.max_items,
            )
            for name, one in block.blocks.items()
        ],
    )


def read_value(message: Any) -> Values | None:
    """The values in a message; None: there is no such resource."""
    values: Values | None = json.loads(message.json) if message.json else decode(message.msgpack)
    return values


def value_message(block: Block, values: Values | None) -> Any:
    """The inverse of ``read_value``."""
    return pb.DynamicValue(msgpack=encode(None if values is None else complete(block, values)))


def path_message(path: Path) -> Any:
    """Where something is in a resource."""
    steps = [
        pb.AttributePath.Step(attribute_name=step)
        if isinstance(step, str)
        else pb.AttributePath.Step(element_key_int=step)
        for step in path
    ]
    return pb.AttributePath(steps=steps)


def path_messages(paths: Iterable[Path]) -> list[Any]:
    """Each of ``paths``."""
    return [path_message(path) for path in paths]


def error(summary: str, detail: str = "") -> Any:
    """What went wrong, as terraform shows it."""
    return pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=summary, detail=detail)


def warning(summary: str, detail: str = "") -> Any:
    """What is to be known, as terraform shows it."""
    return pb.Diagnostic(severity=pb.Diagnostic.WARNING, summary=summary, detail=detail)

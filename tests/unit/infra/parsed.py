# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parts of a synthesised stack."""

from __future__ import annotations

from typing import Any


def resources(stack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All resources by terraform address, ``openstack_`` and cdktf's own notes left out."""
    return {
        f"{kind.removeprefix('openstack_')}.{name}": {k: v for k, v in body.items() if k != "//"}
        for kind, named in stack.get("resource", {}).items()
        for name, body in named.items()
    }


def outputs(stack: dict[str, Any]) -> dict[str, Any]:
    """Values of outputs by name, without those that cdktf makes for other stacks."""
    return {
        name: output["value"]
        for name, output in stack["output"].items()
        if not name.startswith("cross-stack-output-")
    }

# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/infra.md says what each key means, and knows no key that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from infra.settings import Settings

TEXT = (Path(__file__).parents[3] / "docs" / "infra.md").read_text(encoding="utf-8")


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables that a field's type is made of: itself, or the items of a list or a table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key as the file has it; ``NAME`` where the operator names a table."""
    for name, field in model.model_fields.items():
        inner = list(models(field.annotation))
        named = ".NAME" if "dict[" in str(field.annotation) else ""
        for each in inner:
            yield from keys(each, f"{prefix}{name}{named}.")
        if not inner:
            yield f"{prefix}{name}"


KEYS = sorted(set(keys(Settings)))
DOCUMENTED = set(
    re.findall(r"`([a-z0-9_]+(?:\.[A-Za-z0-9_]+)*)`", "\n".join(re.findall(r"^\| (`.*?) \| ", TEXT, re.M)))
)


def test_the_list_is_not_empty() -> None:
    assert {"stage", "regions.lxd.slots", "flavors.sizes.NAME.cpus", "broker.clients.prefix"} <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained(key: str) -> None:
    assert key in DOCUMENTED


def test_no_other_key_is_explained() -> None:
    sections = {key.rpartition(".")[0] for key in KEYS} | {"flavors.sizes"}
    tops = {key.split(".")[0] for key in KEYS}
    assert {key for key in DOCUMENTED if key.split(".")[0] in tops} - set(KEYS) <= sections

# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testyard.tomltext import toml_text

texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.one_of(texts, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.lists(texts, max_size=3))
tables = st.recursive(
    st.dictionaries(texts, plain, min_size=1, max_size=4),
    lambda inner: st.dictionaries(
        texts, st.one_of(plain, inner, st.lists(inner, min_size=1, max_size=3)), min_size=1
    ),
    max_leaves=8,
)


@given(tables)
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(value)) == value


def test_it_looks_as_people_write_it() -> None:
    text = toml_text({"a": 1, "worker": {"name": "x", "hosts": [{"name": "h", "slots": 3}]}})
    assert text == 'a = 1\n\n[worker]\nname = "x"\n\n[[worker.hosts]]\nname = "h"\nslots = 3\n'


def test_nothing_is_left_out_but_none_and_empty_tables() -> None:
    assert tomllib.loads(toml_text({"a": None, "b": {}, "c": []})) == {"c": []}


def test_what_toml_does_not_know() -> None:
    with pytest.raises(TypeError, match="TOML has no form for object"):
        toml_text({"a": object()})

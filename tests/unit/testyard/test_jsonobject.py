# SPDX-License-Identifier: AGPL-3.0-or-later
"""JSON of others: what is taken and what is not."""

from __future__ import annotations

import json

import pytest

from testyard.jsonobject import MAX_DEPTH, parse_object, parse_value


def nested(levels: int) -> str:
    return "{" + '"a": {' * (levels - 1) + "}" * levels


@pytest.mark.parametrize(
    "text", ["{}", b'{"a": [1, "\xc3\xa4"]}', '{"a": "\\ud83d\\ude00"}', nested(MAX_DEPTH - 1)]
)
def test_objects_are_taken(text: str | bytes) -> None:
    assert parse_object(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[1]", "not an object"),
        ("null", "not an object"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -Infinity}', "-Infinity is no JSON"),
        ('{"a": 1e999}', "not JSON compliant"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"\\udc00": 1}', "surrogate"),
        (nested(MAX_DEPTH + 2), "nested deeper"),
        ("[" * 200_000, "nested deeper"),
        (b"\xff{}", "decode"),
    ],
)
def test_what_no_reader_can_take_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_object(text)


def test_a_key_given_twice() -> None:
    text = '{"a": 1, "b": {"c": 1, "c": 2}}'
    assert parse_value(text) == {"a": 1, "b": {"c": 2}}
    with pytest.raises(ValueError, match="'c' is given twice"):
        parse_value(text, keys_once=True)
    assert parse_value('[{"a": 1}, {"a": 2}]', keys_once=True) == [{"a": 1}, {"a": 2}]

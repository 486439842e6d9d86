# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from testyard.secrets import masked, masked_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bot:token@team/ppa:ABCDEF01", "***@team/ppa:ABCDEF01"),
        ("team/ppa", "team/ppa"),
        ("https://bot:token@git.example/x#main", "https://***@git.example/x#main"),
        ("https://token@git.example/x", "https://***@git.example/x"),
        ("API_TOKEN=s3cr3t", "API_TOKEN=***"),
        ("LANG=C.UTF-8,MY_PASSWORD=x", "LANG=C.UTF-8,MY_PASSWORD=***"),
        ("glibc/2.39-1", "glibc/2.39-1"),
        ("alex@mail.example", "alex@mail.example"),
    ],
)
def test_credentials_are_masked_and_nothing_else(text: str, shown: str) -> None:
    assert masked_text(text) == shown


def test_masked_goes_through_all_of_json() -> None:
    assert masked({"a": ["x:y@b/c", 1, None, {"d": "x:y@b"}]}) == {"a": ["***@b/c", 1, None, {"d": "***@b"}]}

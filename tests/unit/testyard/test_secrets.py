# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from testyard.secrets import forms_of, masked, masked_parameters, masked_text, secrets_in


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


def test_parameters_for_others() -> None:
    parameters = {
        "triggers": ["x/1 " * 5000],
        "ppas": ["bot:token@team/ppa", "team/other"],
        "env": ["API_TOKEN=a b, c", "SIGNING_KEY=x", "LANG=C", "LONG=" + "x" * 4090],
        "requester": "alex@mail.example",
    }
    assert masked_parameters(parameters) == {
        **parameters,
        "ppas": ["***@team/ppa", "team/other"],
        "env": ["API_TOKEN=***", "SIGNING_KEY=***", *parameters["env"][2:]],
    }
    assert masked_parameters({"env": "API_TOKEN=x", "ppas": [1]}) == {"env": "API_TOKEN=x", "ppas": [1]}


def test_the_secrets_of_a_request_in_each_form() -> None:
    found = secrets_in({"ppas": ["bot:t0ken+1@team/ppa"], "env": ["DB_PASSWORD=short", "X_TOKEN=123456"]})
    assert set(found) == {*forms_of("bot:t0ken+1"), *forms_of("t0ken+1"), *forms_of("123456")}
    assert secrets_in({"ppas": None, "env": "A_TOKEN=123456"}) == ()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests: the queue body read and written."""

from __future__ import annotations

import uuid

import pytest

from testyard.errors import RequestError
from testyard.request import MAX_BODY_BYTES, make_request, new_request_id, parse_body


@pytest.mark.parametrize(
    "body", [b"gzip", b"gzip\n", b" gzip \n", b"gzip {}", b"gzip\n{}", b"gzip\t{}\n", b"gzip \n {}"]
)
def test_forms_without_parameters(body: bytes) -> None:
    assert parse_body(body) == make_request("gzip", {})


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"", "package", "no source package name"),
        (b"\xff\xfe", "body", "not UTF-8 (byte 0)"),
        (b"gzip\n\xc3(", "body", "not UTF-8 (byte 5)"),
        (b"gzip\n{", "body", "no JSON object"),
        (b"gzip\nnull", "body", "no JSON object"),
        (b'gzip\n["triggers"]', "body", "no JSON object"),
        (b'gzip\n"x"', "body", "no JSON object"),
        (b'gzip\n{"a": NaN}', "body", "NaN"),
        (b'gzip\n{"a": 1e999}', "body", "no JSON object"),
        (b'gzip\n{"a": "\\ud800"}', "body", "surrogate"),
        (b"gzip\n" + b"[" * 100_000, "body", "nested"),
        (b'gzip\n{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "body", "nested"),
        (b'{"triggers": []}', "package", "no source package name"),
        (b"../etc/passwd\n{}", "package", "no source package name"),
        (b"gzip/x\n{}", "package", "no source package name"),
        (b"gzip\x00\n{}", "package", "no source package name"),
        (b'gzip\n{"triggers": "x"}', "triggers", "source/version"),
        (b'gzip\n{"requester": {}}', "requester", "a string, not an object"),
        (b"gzip\n" + b" " * MAX_BODY_BYTES, "body", "262149 bytes"),
    ],
)
def test_bad_bodies_name_the_part(body: bytes, field: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_body(body)
    assert caught.value.field == field
    assert words in caught.value.problem
    assert len(str(caught.value)) < 400


def test_the_largest_body_is_taken() -> None:
    body = b'gzip\n{"x": "' + b"a" * (MAX_BODY_BYTES - 14) + b'"}'
    assert len(body) == MAX_BODY_BYTES
    assert len(parse_body(body).parameters["x"]) == MAX_BODY_BYTES - 14


def test_the_body_has_a_line_feed_and_every_key() -> None:
    request = parse_body('gzip {"triggers": ["a1/1"], "later": {"ä": [1, null]}}'.encode())
    package, _, rest = request.body().partition(b"\n")
    assert package == b"gzip"
    assert rest.startswith(b"{")
    assert parse_body(request.body()) == request
    assert request.parameters["later"] == {"ä": [1, None]}


@pytest.mark.parametrize(
    ("parameters", "private"),
    [({}, False), ({"swiftuser": "a"}, True), ({"readable-by": "a"}, True), ({"readable-by": []}, False)],
)
def test_private(parameters: dict[str, object], private: bool) -> None:
    assert make_request("gzip", parameters).private is private


def test_sources_to_take_from_the_pocket() -> None:
    request = make_request("gzip", {"triggers": ["a1/1", "migration-reference/0", "b2/2"]})
    assert request.trigger_sources == ("a1", "b2")


def test_request_ids_are_uuids_and_differ() -> None:
    one, two = new_request_id(), new_request_id()
    assert str(uuid.UUID(one)) == one
    assert one != two


def test_source_packages_have_no_capital_letters_but_projects_may() -> None:
    with pytest.raises(RequestError, match="package: 'Hello' has capital letters"):
        make_request("Hello", {})
    assert make_request("Hello", {"test-git": "https://git.example.org/Hello"}).package == "Hello"

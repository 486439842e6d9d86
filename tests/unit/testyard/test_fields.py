# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each field's rule, and that its error names the field."""

from __future__ import annotations

from typing import Any

import pytest

from testyard import fields
from testyard.errors import RequestError
from testyard.request import TestRequest, make_request

UUID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"

TAKEN: list[tuple[str, Any, str, Any]] = [
    ("triggers", None, "triggers", ()),
    ("triggers", [], "triggers", ()),
    ("triggers", ["gzip/1.12-1", "lib+a.b/1:2~rc1+x-3"], "triggers", ("gzip/1.12-1", "lib+a.b/1:2~rc1+x-3")),
    ("triggers", ["a1/1 b2/2", "c3/3"], "triggers", ("a1/1", "b2/2", "c3/3")),
    ("triggers", "a1/1  b2/2", "triggers", ("a1/1", "b2/2")),
    ("triggers", ["migration-reference/0"], "triggers", ("migration-reference/0",)),
    ("ppas", ["me/one"], "ppas", ("me/one",)),
    ("ppas", ["me/one"] * 20, "ppas", ("me/one",) * 20),
    ("ppas", ["me/one:0123abcd"], "ppas", ("me/one:0123abcd",)),
    ("env", ["A=", "_B1=x y=z ä"], "env", ("A=", "_B1=x y=z ä")),
    ("test-git", "https://example.org/a.git", "test_git", "https://example.org/a.git"),
    ("test-git", "https://example.org/a.git  main", "test_git", "https://example.org/a.git#main"),
    ("build-git", "git://example.org/~me/a#v1.0/x", "build_git", "git://example.org/~me/a#v1.0/x"),
    ("test-git", "http://[2606:4700::1]:8080/a.git", "test_git", "http://[2606:4700::1]:8080/a.git"),
    ("test-git", "http://example.org/a%2eb", "test_git", "http://example.org/a%2eb"),
    ("test-git", "https://example.org#main", "test_git", "https://example.org#main"),
    ("all-proposed", "1", "all_proposed", True),
    ("all-proposed", 1, "all_proposed", True),
    ("all-proposed", True, "all_proposed", True),
    ("all-proposed", "", "all_proposed", False),
    ("all-proposed", "0", "all_proposed", False),
    ("all-proposed", None, "all_proposed", False),
    ("testname", "smoke_2.a+b-c", "testname", "smoke_2.a+b-c"),
    ("requester", "Zoë Q.", "requester", "Zoë Q."),
    ("submit-time", "2026-01-05 10:15:00+0000", "submit_time", "2026-01-05 10:15:00+0000"),
    ("swiftuser", "team-a_b@x.y", "swiftuser", "team-a_b@x.y"),
    ("readable-by", "me", "readable_by", ("me",)),
    ("readable-by", ["me", "my-team"], "readable_by", ("me", "my-team")),
    ("uuid", UUID.upper(), "uuid", UUID),
    ("uuid", UUID.replace("-", ""), "uuid", UUID),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("triggers", 3, "a list of strings, not a number"),
    ("triggers", {"a": 1}, "not an object"),
    ("triggers", [1], "a list of strings"),
    ("triggers", ["gzip"], "'gzip' is not source/version"),
    ("triggers", ["gzip/"], "source/version"),
    ("triggers", ["g/1"], "source/version"),
    ("triggers", ["Gzip/1"], "source/version"),
    ("triggers", ["../etc/1"], "source/version"),
    ("triggers", ["gzip/1/2"], "source/version"),
    ("triggers", ["gzip/1;reboot"], "source/version"),
    ("triggers", ["a1/1"] * 1001, "more than 1000"),
    ("ppas", "me/one", "not a string"),
    ("ppas", ["me"], "owner/name"),
    ("ppas", ["me/one"] * 21, "names 21 archives; 20 at most"),
    ("ppas", ["me/one/two"], "owner/name"),
    ("ppas", ["../one"], "owner/name"),
    ("ppas", ["me/a..b"], "owner/name"),
    ("ppas", ["a..b/me"], "owner/name"),
    ("ppas", ["me/one:xyz"], "owner/name"),
    ("ppas", ["me/one\n"], "owner/name"),
    ("env", "A=1", "not a string"),
    ("env", ["A"], "NAME=value"),
    ("env", ["1A=1"], "'1A' is no name of a variable"),
    ("env", ["A B=1"], "'A B' is no name of a variable"),
    ("env", ["A=1\nB=2"], "NAME=value"),
    ("env", ["A=\x00"], "NAME=value"),
    ("test-git", "", "http"),
    ("test-git", 1, "a string, not a number"),
    ("test-git", "file:///etc/passwd", "http"),
    ("test-git", "--upload-pack=x", "http"),
    ("test-git", "https://example.org/a b c", "http"),
    ("test-git", "https://example.org/a;b", "http"),
    ("test-git", "http://127.0.0%2e1/a", "http"),
    ("test-git", "http://localhos%74:80/a", "http"),
    ("test-git", "http://[fe80::1%25lo]/a", "http"),
    ("test-git", "http:///etc/passwd", "http"),
    ("test-git", "http://example.org:80:90/a", "http"),
    ("build-git", "ssh://example.org/a", "http"),
    ("build-git", "https://example.org/" + "a" * 1000, "http"),
    ("all-proposed", "yes", '"1" or absent'),
    ("all-proposed", [], '"1" or absent'),
    ("all-proposed", 2, '"1" or absent'),
    ("testname", "", "no test name"),
    ("testname", "-x", "no test name"),
    ("testname", "a/b", "no test name"),
    ("testname", "a" * 201, "no test name"),
    ("testname", ["a"], "a string, not a list"),
    ("requester", "a\nb", "one line"),
    ("requester", "a" * 1001, "one line"),
    ("requester", True, "not true or false"),
    ("submit-time", "a\x7f", "one line"),
    ("submit-time", 1, "not a number"),
    ("swiftuser", "", "only"),
    ("swiftuser", "a:b", "only"),
    ("swiftuser", ".r:*", "only"),
    ("readable-by", [""], "empty name"),
    ("readable-by", "", "empty name"),
    ("readable-by", [["me"]], "list of strings"),
    ("readable-by", "a\nb", "one line"),
    ("uuid", "1", "UUID"),
    ("uuid", UUID + "0", "UUID"),
    ("uuid", 5, "a string"),
]


@pytest.mark.parametrize(("key", "value", "attribute", "expected"), TAKEN)
def test_taken(key: str, value: Any, attribute: str, expected: Any) -> None:
    assert getattr(make_request("gzip", {key: value}), attribute) == expected


@pytest.mark.parametrize(("key", "value", "words"), REFUSED)
def test_refused_and_named(key: str, value: Any, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        make_request("gzip", {key: value})
    assert caught.value.field == key
    assert words in caught.value.problem
    assert str(caught.value).startswith(f"{key}: ")


def test_every_field_is_tried_both_ways() -> None:
    attributes = {name for name in TestRequest.__dataclass_fields__ if name not in ("package", "parameters")}
    assert {attribute for _, _, attribute, _ in TAKEN} == attributes
    assert {key.replace("-", "_") for key, _, _ in REFUSED} == attributes


@pytest.mark.parametrize("name", ["gzip", "g", "0ad", "libstdc++6", "a.b-c", "X", "a" * 200])
def test_package_names(name: str) -> None:
    assert fields.package_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a..b",
        "-a",
        "+a",
        ".a",
        "a b",
        "a\n",
        "ä",
        "a_b",
        "a" * 201,
        "a\x00",
        "٣a",
    ],
)
def test_hostile_package_names(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        fields.package_name(name)
    assert caught.value.field == "package"


def test_credentials_of_an_archive_are_not_in_the_error() -> None:
    with pytest.raises(RequestError) as caught:
        make_request("gzip", {"ppas": ["me:s3cret@me/UPPER"]})
    assert "s3cret" not in str(caught.value)

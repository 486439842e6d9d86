# SPDX-License-Identifier: AGPL-3.0-or-later
"""Archives as requests name them."""

from __future__ import annotations

import pytest

from testyard.errors import RequestError
from testyard.ppa import Ppa
from testyard.request import make_request


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        ("me/one", ("me", "one", "", "", "")),
        ("me:token@me/one", ("me", "one", "", "me", "token")),
        ("you:t:o!k@me/one.2:0123abcd", ("me", "one.2", "0123ABCD", "you", "t:o!k")),
    ],
)
def test_its_parts(item: str, parts: tuple[str, ...]) -> None:
    ppa = Ppa.parse(item)
    assert (ppa.owner, ppa.name, ppa.fingerprint, ppa.user, ppa.token) == parts
    assert ppa.public is (parts[3] == "")


def test_credentials_are_never_printed() -> None:
    ppa = Ppa.parse("you:s3cret@me/one")
    assert "s3cret" not in f"{ppa} {ppa!r}"
    assert str(ppa) == "me/one"


def test_what_is_none_is_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        Ppa.parse("me:s3cret@UPPER")
    assert caught.value.field == "ppas"
    assert "s3cret" not in str(caught.value)


def test_credentials_need_a_reader() -> None:
    parameters = {"ppas": ["o/n", "user:hunter2@o/n"]}
    with pytest.raises(RequestError) as caught:
        make_request("gzip", {**parameters, "readable-by": ["somebody"]})
    assert caught.value.field == "ppas"
    assert "swiftuser" in caught.value.problem
    assert "hunter2" not in str(caught.value)
    assert make_request("gzip", {**parameters, "swiftuser": "reader"}).private

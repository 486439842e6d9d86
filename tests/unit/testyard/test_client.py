# SPDX-License-Identifier: AGPL-3.0-or-later
"""The site's JSON, for programs."""

from __future__ import annotations

import pytest

from tests.unit.testyard.sites import Site
from testyard.client import SiteClient
from testyard.errors import TestyardError


def test_an_object(site: Site) -> None:
    site.answers["/a.json?limit=3"] = (200, {"a": 1})
    with SiteClient(site.url + "/") as client:
        assert client.json("/a.json", limit=3) == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, {"title": "Not found", "detail": "No package x."}), "No package x."),
        ((500, {"title": "Broken"}), "Broken"),
        ((500, {}), "status 500"),
        ((200, [1]), "status 200"),
        ((200, b"<html>"), "not JSON"),
        ((200, b"\xff\xfe\xfa"), "not JSON"),
    ],
)
def test_the_sites_own_words(site: Site, answer: tuple[int, object], words: str) -> None:
    site.answers["/a.json"] = answer
    with SiteClient(site.url) as client, pytest.raises(TestyardError, match=words):
        client.json("/a.json")


def test_a_stream(site: Site) -> None:
    site.answers["/log"] = (200, "ä".encode() * 5000)
    with SiteClient(site.url) as client:
        assert "".join(client.stream(f"{site.url}/log")) == "ä" * 5000
        with pytest.raises(TestyardError, match="status 404"):
            list(client.stream(f"{site.url}/nothing"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://[::1", "nonsense", "http://127.0.0.1:99999", "ftp://127.0.0.1"]
)
def test_no_site_there(url: str) -> None:
    with SiteClient(url) as client:
        with pytest.raises(TestyardError, match="site"):
            client.json("/a.json")
        with pytest.raises(TestyardError):
            list(client.stream(f"{url}/log"))


def test_no_address() -> None:
    with pytest.raises(TestyardError) as caught:
        SiteClient("")
    assert "TESTYARD_SITE__URL" in caught.value.resolution

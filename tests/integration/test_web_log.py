# SPDX-License-Identifier: AGPL-3.0-or-later
"""The run page with a real Swift behind it: its headers, its refusals, and its absence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from swiftclient import Connection

from tests.servers import Swift, swift_server
from tests.unit.web import samples
from testyard.store import PUBLIC_READ
from web.app import create_app

PAGE = "/packages/sed/bookworm/amd64/20260105_120000_0a1b2@"
OTHER_PAGE = "/packages/gzip/bookworm/amd64/20260105_101500_ab12c@"


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture
def site(swift: Swift, tmp_path: Path) -> Iterator[samples.Browser]:
    database = f"sqlite:///{tmp_path}/index.db"
    samples.fill(database)
    with samples.Browser(create_app(samples.settings(database, swift.public_url))) as browser:
        yield browser


def test_log_from_swift(swift: Swift, site: samples.Browser) -> None:
    missing = site.get(PAGE)
    assert missing.status_code == 200
    assert "does not let the public read" in missing.text, "Swift's answer where there is no container"
    assert missing.headers["cache-control"] == "no-store"

    store = Connection(swift.auth_url, swift.user, swift.key, auth_version="1", retries=0)
    store.put_container("autopkgtest-bookworm", headers={"X-Container-Read": PUBLIC_READ})
    store.put_object(
        "autopkgtest-bookworm",
        f"{samples.FAILED_RUN}/log.gz",
        samples.packed(),
        content_type="text/plain; charset=UTF-8",
        headers={"Content-Encoding": "gzip"},
    )
    shown = site.get(PAGE)
    assert 'id="failure" open' in shown.text
    assert "FAIL: testsuite/inplace-selinux.sh" in shown.text
    assert shown.headers["cache-control"] == "public, max-age=3600"
    assert "holds no log" in site.get(OTHER_PAGE).text

    swift.stop()
    down = site.get(PAGE)
    assert down.status_code == 200
    assert "cannot be reached" in down.text
    assert "1 of 2 tests failed" in down.text
    swift.start()
    assert 'id="failure" open' in site.get(PAGE).text

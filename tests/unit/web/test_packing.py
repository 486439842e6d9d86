# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pages of large logs: what they weigh, and that nobody waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.web.samples import FAILED_RUN, Browser, app_on, packed, store_of
from web.packing import LARGE
from web.site import LARGE_LOG

PAGE = "/packages/sed/bookworm/amd64/20260105_120000_0a1b2@"


def site_with(log: str, folder_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    transport = store_of({f"autopkgtest-bookworm/{FAILED_RUN}/log.gz": packed(log)})
    with Browser(app_on(folder_factory.mktemp("site"), transport)) as browser:
        yield browser


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A site with a log of 20,000 lines."""
    log = "".join(f"line {number} {'x' * 40}\n" for number in range(20_000))
    assert len(log) > LARGE_LOG
    yield from site_with(log, tmp_path_factory)


@pytest.fixture(scope="module")
def one_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A site with a log of one line of 9 million characters."""
    yield from site_with("x" * 9_000_000, tmp_path_factory)


def test_a_large_page_is_packed_for_who_takes_it_so(large: Browser) -> None:
    plain = large.get(PAGE, **{"Accept-Encoding": "identity"})
    packed_page = large.get(PAGE, **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed_page.headers["content-encoding"] == "gzip"
    assert int(packed_page.headers["content-length"]) * 4 < int(plain.headers["content-length"])
    assert {plain.headers["vary"], packed_page.headers["vary"]} == {"Accept-Encoding"}
    assert "line 19999 x" in plain.text
    assert plain.text.partition("<main")[2] == packed_page.text.partition("<main")[2]


def test_nobody_waits_for_a_large_page(large: Browser) -> None:
    assert large.get_all(PAGE, PAGE, PAGE, PAGE, "/health")[0] == "/health"


def test_one_line_of_many_megabytes_is_capped(one_line: Browser) -> None:
    page = one_line.get(PAGE)
    assert len(page.content) < LARGE
    assert "line cut; the raw log has all of it" in page.text
    assert "first 8 MB" in page.text
    assert f"{FAILED_RUN}/log.gz" in page.text

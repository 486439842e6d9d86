# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame of all pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from testyard.look import Frame, make_templates
from testyard.settings import Settings


def frame_of(kind: str, **intake: str) -> Frame:
    settings = Settings(site={"url": "https://tests.example"}, intake=intake)  # type: ignore[arg-type]
    return Frame.of_site(settings) if kind == "site" else Frame.of_intake(settings)


def test_links_lead_to_where_things_are_served(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('{% extends "base.html" %}')
    static = tmp_path / "static"
    static.mkdir()
    (static / "live.js").touch()
    page = type("Page", (), {"title": "A <b> page"})

    def shown(frame: Frame) -> str:
        return make_templates(tmp_path, frame, static).get_template("page.html").render(page=page)

    assert 'href="/running"' in shown(frame_of("site"))
    assert 'href="https://ask.example/request"' in shown(frame_of("site", url="https://ask.example/"))
    assert 'href="/request"' in shown(frame_of("site", url="https://tests.example"))
    asking = shown(frame_of("intake", url="https://ask.example"))
    assert 'href="https://tests.example/running"' in asking
    assert 'href="/request"' in asking
    assert 'href="/running"' in shown(frame_of("intake"))
    assert "A &lt;b&gt; page" in asking


@pytest.mark.parametrize(
    ("intake", "asks"), [({}, False), ({"url": "https://a"}, True), ({"logins": "x"}, True)]
)
def test_the_site_offers_requests_where_there_is_somebody_to_take_them(
    intake: dict[str, str], asks: bool
) -> None:
    assert frame_of("site", **intake).asks is asks
    assert frame_of("intake", **intake).asks

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Errors, headers, health: what holds for every address."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import httpx
import pytest

from tests.unit.web.samples import Browser, app_on, settings
from testyard.errors import SettingsError
from testyard.settings import Settings
from web.app import create_app
from web.pages.page import Page
from web.pages.problem import ProblemPage
from web.routes import wants_json
from web.site import site_templates

PAGES = ["/", "/running", "/packages/hello", "/packages/nosuch", "/static/nosuch", "/nosuch", "/health"]


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_the_headers(site: Browser, path: str) -> None:
    headers = site.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", PAGES[:4])
def test_pages_obey_the_policy(site: Browser, path: str) -> None:
    page = site.get(path).text
    assert "style=" not in page
    assert "<style" not in page
    assert "<script>" not in page
    assert '<html lang="en">' in page
    assert "<title>" in page


@pytest.mark.parametrize(
    "path",
    [
        "/nosuch",
        "/packages/a..b",
        "/packages/%2e%2e%2fetc",
        "/packages/%3Cscript%3E",
        "/packages/x%00y",
        "/packages/" + "a" * 300,
        "/packages/s/gzip",
        "/packages/gzip/Book-Worm/amd64",
        "/packages/gzip/bookworm/amd64/20260105@",
        "/packages/gzip/bookworm/amd64/99999999_999999_00000@",
        "/requests/1",
        "/requests/0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1aff",
    ],
)
def test_what_is_not_there_is_404(site: Browser, path: str) -> None:
    page = site.get(path)
    assert page.status_code == 404
    assert "Traceback" not in page.text
    assert "<script>" not in page.text
    twin = site.get(f"{path}.json")
    assert twin.status_code == 404
    assert twin.headers["content-type"] == "application/problem+json"
    assert twin.json().keys() >= {"type", "title", "status", "detail"}


def test_wrong_method_is_405(site: Browser) -> None:
    response = site.get("/", "POST")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}  # Starlette gives them in any order
    assert "Method Not Allowed" in response.text
    assert site.get("/index.json", "DELETE").json()["status"] == 405


def test_a_bug_is_a_calm_500(tmp_path: Path) -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    with Browser(app_on(tmp_path, httpx.MockTransport(broken))) as site:
        response = site.get("/packages/sed/bookworm/amd64/20260105_120000_0a1b2@")
    assert response.status_code == 500
    assert "an error of the site" in response.text
    assert "ZeroDivision" not in response.text
    assert "content-security-policy" in response.headers


def test_without_an_index_pages_say_so(tmp_path: Path) -> None:
    with Browser(create_app(settings(f"sqlite:///{tmp_path}/nothing.db"))) as site:
        assert site.get("/").status_code == 503
        assert site.get("/index.json").json()["status"] == 503
        health = site.get("/health")
    assert health.status_code == 503
    assert health.json()["healthy"] is False
    assert str(tmp_path) not in health.text


def test_health(site: Browser) -> None:
    response = site.get("/health")
    assert (response.status_code, response.json()) == (200, {"healthy": True, "reason": ""})


def test_a_wrong_database_address_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match=r"database\.url"):
        create_app(settings("nonsense"))


def test_small_files(site: Browser) -> None:
    assert "Disallow" in site.get("/robots.txt").text
    assert site.get("/favicon.svg").headers["content-type"] == "image/svg+xml"
    page = site.get("/").text
    for name in ("site.css", "live.js"):
        address = page.split(f"/static/{name}")[1].split('"')[0]
        assert "immutable" in site.get(f"/static/{name}{address}").headers["cache-control"]
    assert site.get("/static/..%2fapp.py").status_code == 404


def test_programs_are_told_from_people() -> None:
    assert wants_json("/packages/x.json")
    assert wants_json("/health")
    assert not wants_json("/packages/x.jsonx")


def _contexts(kind: type[Page]) -> list[type[Page]]:
    return [found for sub in kind.__subclasses__() for found in (sub, *_contexts(sub))]


def test_every_context_is_frozen_and_has_its_template() -> None:
    templates = site_templates(Settings())
    contexts = _contexts(Page)
    assert ProblemPage in contexts
    assert len(contexts) >= 7
    for context in contexts:
        assert dataclasses.is_dataclass(context)
        assert context.__dataclass_params__.frozen  # type: ignore[attr-defined]
        templates.get_template(context.template)

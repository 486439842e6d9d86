# SPDX-License-Identifier: AGPL-3.0-or-later
"""The request function's pages in Debian's Chromium, served by uvicorn, with a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.integration.functions.desk import LOGINS, POLICY
from tests.servers import rabbit_node
from testyard.index import index_engine, open_index
from testyard.intake import create_intake, sessions
from testyard.local.ports import free_ports

#: Ends an attribute, a text area, a title, a script's string, and does something in each.
EVIL = "x\"'></textarea></title><script>window.hit=1</script><img src=x onerror=window.hit=1>{{7*7}}"
NAMES = [
    "release", "arch", "package", "trigger", "ppa", "env", "all-proposed", "readable-by", "build-git",
    "test-git", "testname", "force", "nosuch",
]  # fmt: skip
GOOD = {"release": "noble", "arch": "amd64", "package": "gzip", "trigger": "gzip/1"}


class Desk:
    """The function as a process, and somebody who has logged in."""

    def __init__(self, url: str, database: str) -> None:
        self.url = url
        self._memory = index_engine(database, writer=True)
        create_intake(self._memory)
        self.cookie = self.login()

    def login(self) -> str:
        """A new session's cookie."""
        with self._memory.begin() as memory:
            return sessions.begin(memory, owner="github/jane", login="jane <b>")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("form")
    [port] = free_ports(1)
    database, url = f"sqlite:///{folder}/desk.db", f"http://127.0.0.1:{port}"
    open_index(database, writer=True).dispose()
    (folder / "policy.toml").write_text(POLICY)
    (folder / "logins.toml").write_text(LOGINS)
    with rabbit_node(folder / "rabbit") as rabbit:
        config = folder / "testyard.toml"
        config.write_text(
            f'[broker]\nurl = "{rabbit.url}"\n[database]\nurl = "{database}"\n[site]\nurl = "{url}"\n'
            '[topology]\nreleases = ["noble", "plucky"]\narchitectures = ["amd64", "arm64", "riscv64"]\n'
            f'[intake]\npolicy = "{folder}/policy.toml"\nlogins = "{folder}/logins.toml"\n'
        )
        with _served(port, config):
            yield Desk(url, database)


@contextmanager
def _served(port: int, config: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "uvicorn", "functions.request.app:create_app", "--factory"]
    environment = {**os.environ, "TESTYARD_CONFIG": str(config)}
    process = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "warning"],
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def opened(
    chromium: Browser, desk: Desk, path: str, *, width: int = 1280, login: bool = True, **more: object
) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": width, "height": 844}, **more)  # type: ignore[arg-type]
    if login:
        context.add_cookies([{"name": "testyard", "value": desk.cookie, "url": desk.url}])
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(desk.url + path)
    yield page
    context.close()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_person_asks_for_several_without_typing_an_address(
    desk: Desk, chromium: Browser, javascript: bool
) -> None:
    package = "gzip" if javascript else "sed"
    with opened(chromium, desk, "/request", java_script_enabled=javascript) as page:
        page.get_by_label("Source package").fill(package)
        page.get_by_label("amd64").check()
        page.get_by_label("arm64").check()
        page.get_by_label("Triggers").fill("gzip/1.13-1\nglibc/2.40-1")
        page.get_by_role("button", name="Send request").click()
        assert page.locator("h1").inner_text() == "Test request submitted."
        assert page.locator("tbody tr").count() == 2


def test_a_link_is_confirmed_changed_or_left(desk: Desk, chromium: Browser) -> None:
    address = f"/request.cgi?{urlencode({**GOOD, 'package': 'grep'})}"
    with opened(chromium, desk, address) as page:
        page.get_by_role("link", name="Change it").click()
        assert page.get_by_label("Source package").input_value() == "grep"
        assert page.get_by_label("amd64").is_checked()
        page.go_back()
        page.get_by_role("button", name="Send request").click()
        assert page.locator("h1").inner_text() == "Test request submitted."


def test_a_token_is_made_copied_and_revoked(desk: Desk, chromium: Browser) -> None:
    with opened(chromium, desk, "/tokens", java_script_enabled=False) as page:
        page.get_by_label("What it is for").fill("release script")
        page.get_by_role("button", name="Make a token").click()
        text = page.locator(".secret").inner_text()
        answer = httpx.get(
            f"{desk.url}/request", headers={"Authorization": f"Bearer {text}"}, trust_env=False
        )
        assert answer.status_code == 200
        page.get_by_role("button", name="Revoke release script").click()
        assert "revoked" in page.locator(".over").inner_text()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
    desk.cookie = desk.login()


_WITHOUT_LABEL = """[...document.querySelectorAll('input:not([type=hidden]), textarea, select')]
  .filter(field => !field.labels.length).length"""


@pytest.mark.parametrize("path", ["/request", "/tokens", f"/request.cgi?{urlencode(GOOD)}", "/login/nosuch"])
def test_pages_fit_and_speak_to_all(desk: Desk, chromium: Browser, path: str) -> None:
    for width in (1280, 390):
        with opened(chromium, desk, path, width=width) as page:
            assert page.locator("h1").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(_WITHOUT_LABEL) == 0
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Skip to content"


@pytest.mark.parametrize("login", [True, False])
def test_a_script_in_a_parameter_does_not_run(desk: Desk, chromium: Browser, login: bool) -> None:
    queries = [urlencode({**GOOD, name: EVIL}) for name in NAMES]
    paths = [f"{path}?{query}" for query in queries for path in ("/request.cgi", "/request")]
    evil = quote(EVIL, safe="")
    paths += [f"/login?next={evil}", f"/login?next=/{evil}", f"/{evil}", f"/login/{evil}"]
    # without the policy that would stop it all the same
    with opened(chromium, desk, "/request", login=login, bypass_csp=True) as page:
        for path in paths:
            page.goto(desk.url + path)
            assert page.evaluate("window.hit") is None, path
            assert page.locator("img, script:not([src])").count() == 0, path
            assert "49" not in page.locator("main").inner_text(), path


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_script_in_a_form_does_not_run(desk: Desk, chromium: Browser, name: str) -> None:
    with opened(chromium, desk, "/request", bypass_csp=True) as page:
        set_field = """([name, value, good]) => {
          const form = document.querySelector("form.ask");
          for (const [key, text] of Object.entries({...good, [name]: value})) {
            form.querySelectorAll(`[name="${key}"]`).forEach(field => field.remove());
            const field = document.createElement("input");
            Object.assign(field, {type: "hidden", name: key, value: text});
            form.append(field);
          }
          form.submit();
        }"""
        with page.expect_navigation():
            page.evaluate(set_field, [name, EVIL, GOOD])
        assert page.evaluate("window.hit") is None
        assert page.locator("img, script:not([src])").count() == 0
        assert page.locator("h1").count() == 1

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages in Debian's Chromium: what only a browser can tell."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.unit.web import samples
from testyard.event import EventKind
from testyard.index import open_index
from testyard.index.write import apply_event, record_run
from testyard.run import RunId
from testyard.store import RunPath

RUN_PAGE = "/packages/sed/bookworm/amd64/20260105_120000_0a1b2@"
PAGES = [
    "/",
    "/running",
    "/packages?q=e",
    "/packages/hello",
    "/packages/jq",
    "/packages/sed/bookworm/amd64",
    RUN_PAGE,
    f"/requests/{samples.RUNNING}",
]


class Served:
    """A site with its store, each a process of its own."""

    def __init__(self, url: str, database: str) -> None:
        self.url = url
        self.database = database


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("pages")
    database = f"sqlite:///{folder}/index.db"
    samples.fill(database)
    log = folder / "store" / "autopkgtest-bookworm" / str(samples.FAILED_RUN) / "log.gz"
    log.parent.mkdir(parents=True)
    log.write_bytes(samples.packed())
    site, store = _free_ports()
    config = folder / "testyard.toml"
    config.write_text(
        f'[database]\nurl = "{database}"\n[store]\npublic_url = "http://127.0.0.1:{store}"\n',
        encoding="utf-8",
    )
    files = ["-m", "http.server", str(store), "--bind", "127.0.0.1", "--directory", str(folder / "store")]
    app = ["-m", "uvicorn", "web.app:create_app", "--factory", "--port", str(site), "--log-level", "warning"]
    with _process(files, {}), _process(app, {"TESTYARD_CONFIG": str(config)}):
        for port, path in ((store, "/"), (site, "/health")):
            _wait(f"http://127.0.0.1:{port}{path}")
        yield Served(f"http://127.0.0.1:{site}", database)


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@contextmanager
def _process(arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait(url: str) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


@contextmanager
def opened(
    chromium: Browser, url: str, *, width: int = 1280, scheme: str = "light", **more: object
) -> Iterator[Page]:
    """A page in a window of its own; anything on its console is a failure."""
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, **more)  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url)
    yield page
    context.close()
    assert said == []


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_open_calmly_and_fit(served: Served, chromium: Browser, path: str, width: int) -> None:
    with opened(chromium, served.url + path, width=width) as page:
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(image => image.complete)")


def test_a_narrow_row_says_what_its_times_are(served: Served, chromium: Browser) -> None:
    said = "getComputedStyle(document.querySelector('td.number'), '::before').content"
    with opened(chromium, f"{served.url}/packages/hello", width=390) as page:
        assert page.evaluate(said) == '"took "'
    with opened(chromium, f"{served.url}/packages/hello") as page:
        assert page.evaluate(said) == "none"


def test_few_columns_stand_side_by_side(served: Served, chromium: Browser) -> None:
    with opened(chromium, f"{served.url}/packages/gzip") as page:
        cell = page.locator(".matrix td").bounding_box()
        assert cell is not None
        assert cell["x"] < 400, "not in the middle of the page"


def test_dark_differs_and_both_are_readable(served: Served, chromium: Browser) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        with opened(chromium, served.url + RUN_PAGE, scheme=scheme) as page:
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            pairs = page.evaluate(_COLOURS)
            assert min(_contrast(*pair) for pair in pairs) >= 4.5, "WCAG AA"
    assert len(grounds) == 2


_COLOURS = """() => [
  ".outcome.fail", ".outcome.pass", ".verdict", ".quiet", ".l.own", ".l.bad", ".button", "dt"
].map(name => {
  const element = document.querySelector(name);
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  return [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(
    colour => colour.match(/[0-9.]+/g).map(Number));
})"""


def _contrast(one: list[float], two: list[float]) -> float:
    def light(colour: list[float]) -> float:
        parts = [
            c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((light(one), light(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("javascript", [True, False])
def test_the_first_failure_is_in_view(served: Served, chromium: Browser, javascript: bool) -> None:
    with opened(chromium, served.url + RUN_PAGE, java_script_enabled=javascript) as page:
        line = page.locator(".excerpt .l.bad")
        box = line.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 844, "seen without scrolling"
        page.get_by_role("link", name="First failure").click()
        section = page.locator("#failure")
        assert section.get_attribute("open") is not None
        place = section.bounding_box()
        assert place is not None
        assert 0 <= place["y"] < 844


def test_a_link_to_a_line_opens_its_folded_section(served: Served, chromium: Browser) -> None:
    with opened(chromium, f"{served.url}{RUN_PAGE}#L8") as page:
        assert page.locator("#L8").is_visible()
        assert not page.locator("#L14").is_visible()


def test_all_is_reached_by_keyboard(served: Served, chromium: Browser) -> None:
    with opened(chromium, served.url + RUN_PAGE) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


class Live:
    """A running request, step by step."""

    def __init__(self, database: str, request_id: str) -> None:
        self.request_id = request_id
        self.now = time.time()
        self.end = 0
        self._engine = open_index(database, writer=True)

    def step(self, kind: EventKind, **data: object) -> None:
        self.now += 0.001
        with self._engine.begin() as connection:
            apply_event(connection, samples.event(kind, self.request_id, "bc", self.now, **data))

    def log(self, text: str, *, size: int | None = None) -> None:
        start, self.end = self.end, self.end + (size or len(text.encode()))
        self.step(EventKind.LOG, text=text, start=start, end=self.end)


def test_lines_appear_without_a_reload(served: Served, chromium: Browser) -> None:
    live = Live(served.database, "7d0b6b76-4bb0-4f0c-9c52-5a0c5b7d7e12")
    live.step(EventKind.TAKEN, worker="worker-1")
    live.log("the first line\nhalf a ")
    with opened(chromium, f"{served.url}/requests/{live.request_id}") as page:
        tail = page.locator("[data-tail]")
        page.evaluate("window.notReloaded = true")
        live.log("line \u00e4<b>\n")
        tail.get_by_text("half a line ä<b>").wait_for()
        live.log("\x1b[31mred\x1b[0m bell\x07 \r10%\r")
        tail.get_by_text("10%").wait_for()
        live.log("100%\n\x1b[3")
        live.log("2mgreen\x1b[0m\n")
        live.log("", size=5_000_000)
        live.log("x" * 300_000 + "\nthe very end\n")
        page.locator("[data-tail]", has_text="the very end").wait_for()
        text = tail.text_content() or ""
        lines = text.split("\n")
        assert lines[:5] == ["the first line", "half a line ä<b>", "100%", "green", ""]
        assert lines[5] == "… 5000000 bytes are left out here; the stored log has them …"
        assert len(lines[6]) == 4000
        live.step(EventKind.TAKEN, worker="worker-2")  # the next attempt has a log of its own
        live.end = 0
        live.log("again from the first line\n")
        page.locator("[data-tail]", has_text="again from").wait_for()
        assert "green" not in (tail.text_content() or "")
        assert page.evaluate("window.notReloaded") is True


def test_without_javascript_lines_appear_by_reloading(served: Served, chromium: Browser) -> None:
    live = Live(served.database, "7d0b6b76-4bb0-4f0c-9c52-5a0c5b7d7e13")
    live.step(EventKind.TAKEN, worker="worker-1")
    live.log("the first line\n")
    with opened(chromium, f"{served.url}/requests/{live.request_id}", java_script_enabled=False) as page:
        live.log("the second line\n")
        tail = page.locator("[data-tail]", has_text="the second line")
        tail.wait_for(timeout=12_000)
        assert tail.text_content() == "the first line\nthe second line\n"


def test_where_a_stream_does_not_get_through_the_page_asks(served: Served, chromium: Browser) -> None:
    live = Live(served.database, "7d0b6b76-4bb0-4f0c-9c52-5a0c5b7d7e14")
    live.step(EventKind.TAKEN, worker="worker-1")
    live.log("the first line\n")
    with opened(chromium, served.url + "/packages") as page:
        page.add_init_script("delete window.EventSource")
        page.goto(f"{served.url}/requests/{live.request_id}")
        live.log("the second line\n")
        page.locator("[data-tail]", has_text="the second line").wait_for()


def test_a_running_page_goes_on_by_itself_to_the_result(served: Served, chromium: Browser) -> None:
    request_id = "7d0b6b76-4bb0-4f0c-9c52-5a0c5b7d7e11"
    now = time.time()
    engine = open_index(served.database, writer=True)

    def step(kind: EventKind, **data: object) -> None:
        with engine.begin() as connection:
            apply_event(connection, samples.event(kind, request_id, "bc", now, **data))

    step(EventKind.ACCEPTED, parameters={})
    with opened(chromium, f"{served.url}/requests/{request_id}") as page:
        page.locator(".outcome.queued").wait_for()
        step(EventKind.TAKEN, worker="worker-1")
        step(EventKind.PHASE, phase="testbed", started=now, seconds=None, test=None)
        page.locator("[data-phase]", has_text="testbed").wait_for()
        step(EventKind.LOG, text="first words <b>\n", start=0, end=16)
        page.locator("[data-tail]", has_text="first words <b>").wait_for()
        path = RunPath("bookworm", "amd64", "bc", RunId("20260106_000000_0a1b2@"))
        with engine.begin() as connection:
            record_run(connection, "autopkgtest-bookworm", path, samples.result("bc", request_id=request_id))
        page.wait_for_url("**/packages/bc/bookworm/amd64/**")
        assert "passed" in page.locator(".verdict").inner_text()
    engine.dispose()

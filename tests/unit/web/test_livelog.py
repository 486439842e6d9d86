# SPDX-License-Identifier: AGPL-3.0-or-later
"""Running logs as the site tells them: by place, by attempt, and for many readers with few questions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, event

from tests.unit.web import samples
from tests.unit.web.samples import DONE, PRIVATE, QUEUED, REJECTED, RUNNING, Browser
from testyard.event import EventKind
from testyard.index import open_index
from testyard.index.write import apply_event
from web.livelog import LogHub

ID = "1a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a01"


class Run:
    """A request that runs, and its log."""

    def __init__(self, database: str) -> None:
        self.engine = open_index(database, writer=True)
        self.now = time.time() - 100
        self.end = 0

    def step(self, kind: EventKind, **data: object) -> None:
        self.now += 0.01
        with self.engine.begin() as connection:
            apply_event(connection, samples.event(kind, ID, "bc", self.now, **data))

    def begin(self) -> None:
        self.end = 0
        self.step(EventKind.TAKEN, worker="w1")

    def log(self, *texts: str) -> None:
        for text in texts:
            start, self.end = self.end, self.end + len(text.encode())
            self.step(EventKind.LOG, text=text, start=start, end=self.end)


@pytest.fixture
def database(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path}/index.db"
    samples.fill(address)
    return address


@pytest.fixture
def run(database: str) -> Run:
    made = Run(database)
    made.begin()
    return made


def test_json_from_any_place(database: str, run: Run) -> None:
    run.log("one\n", "two ä\n", "three\n")
    with Browser(samples.create_app(samples.settings(database))) as site:
        answer = site.get(f"/requests/{ID}/log.json")
        assert answer.headers["cache-control"] == "no-store"
        found = answer.json()
        assert [piece["text"] for piece in found["pieces"]] == ["one\n", "two ä\n", "three\n"]
        assert found["pieces"][1] == {"attempt": 1, "start": 4, "end": 11, "left_out": 0, "text": "two ä\n"}
        assert (found["attempt"], found["offset"], found["over"]) == (1, 17, False)
        assert (found["request"]["state"], found["request"]["request_id"]) == ("running", ID)
        assert "log_tail" not in found["request"]
        rest = site.get(f"/requests/{ID}/log.json?attempt=1&offset=11").json()
        assert [piece["text"] for piece in rest["pieces"]] == ["three\n"]
        nothing = site.get(f"/requests/{ID}/log.json?attempt=1&offset=17").json()
        assert (nothing["pieces"], nothing["offset"]) == ([], 17)
        run.begin()
        run.log("anew\n")
        anew = site.get(f"/requests/{ID}/log.json?attempt=1&offset=17&wait=5").json()
        assert (anew["attempt"], [piece["text"] for piece in anew["pieces"]]) == (2, ["anew\n"])


def test_whoever_waits_is_told_at_once(database: str, run: Run) -> None:
    with Browser(samples.create_app(samples.settings(database))) as site:
        started = time.monotonic()
        assert site.get(f"/requests/{ID}/log.json?offset=0&wait=1").json()["pieces"] == []
        assert 0.9 < time.monotonic() - started < 3
        run.step(EventKind.STORED)
        found = site.get(f"/requests/{ID}/log.json?offset=0&wait=20&state=running").json()
        assert found["request"]["state"] == "done"
        assert time.monotonic() - started < 6


def test_the_log_so_far_as_text(database: str, run: Run) -> None:
    run.log("one\n", "<b>two</b> \x1b[31m\n")
    run.step(EventKind.LOG, text="", start=run.end, end=run.end + 7_000_000)
    run.end += 7_000_000
    run.log("three\n")
    with Browser(samples.create_app(samples.settings(database))) as site:
        answer = site.get(f"/requests/{ID}/log")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        gap = "\n… 7000000 bytes are left out here; the stored log has them …\n"
        assert answer.text == f"one\n<b>two</b> \x1b[31m\n{gap}three\n"
        assert site.get(f"/requests/{DONE}/log").headers["location"].endswith("/log.gz")
        for request_id in (QUEUED, REJECTED, PRIVATE):
            assert site.get(f"/requests/{request_id}/log").status_code == 404


def test_the_page_shows_the_newest_part_of_a_long_log(database: str, run: Run) -> None:
    run.log("the very first line\n", *("x" * 59_999 + "\n" for _ in range(20)), "the last <line>\n")
    with Browser(samples.create_app(samples.settings(database))) as site:
        page = site.get(f"/requests/{ID}").text
    assert "the very first line" not in page
    assert f'<a href="/requests/{ID}/log">All of it so far</a>' in page
    assert "the last &lt;line&gt;" in page
    assert f'data-attempt="1" data-offset="{run.end}"' in page


def test_of_a_private_request_nothing_is_told(database: str) -> None:
    with Browser(samples.create_app(samples.settings(database))) as site:
        answer = site.get(f"/requests/{PRIVATE}/log.json").json()
        assert (answer["pieces"], answer["request"]["package"]) == ([], "private-test")
        for path in (f"/requests/{PRIVATE}/log.json", f"/requests/{PRIVATE}"):
            text = site.get(path).text
            assert not [word for word in ("secret-thing", "secret log", "alice-secret") if word in text]


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        (f"{ID}/log.json", 404, "No request has this id"),
        (f"{ID}/log.events", 404, "No request has this id"),
        (f"{ID}/log", 404, "No request has this id"),
        ("no-id/log.json", 404, "is a UUID"),
        (f"{RUNNING}/log.json?offset=-1", 400, "offset: must be a whole number"),
        (f"{RUNNING}/log.events?attempt=x", 400, "attempt: must be"),
        (f"{RUNNING}/log.json?wait=%C2%B2", 400, "wait: must be"),
    ],
)
def test_bad_questions(database: str, path: str, status: int, word: str) -> None:
    with Browser(samples.create_app(samples.settings(database))) as site:
        answer = site.get(f"/requests/{path}")
        assert (answer.status_code, word in answer.text) == (status, True)
        assert site.get(f"/requests/{RUNNING}/log.events", method="HEAD").status_code == 200


def counted(engine: Engine) -> list[str]:
    statements: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    return statements


def hub_on(engine: Engine) -> LogHub:
    return LogHub(engine, lambda row: {"state": row.state}, lambda row: False)


async def read_to(hub: LogHub, end: int) -> str:
    """A reader from the first line on, until it has read so far."""
    text, offset = [], 0
    async with hub.reading(ID) as feed:
        assert feed is not None
        while offset < end:
            version = feed.version
            pieces = list(await hub.after(feed, offset))
            if pieces:
                offset = pieces[-1].end
                text += [piece.event.decode() for piece in pieces]
            else:
                await feed.changed(version, 5)
    return "".join(text)


def test_many_readers_cost_the_index_what_one_costs(database: str, run: Run) -> None:
    engine = open_index(database)
    statements = counted(engine)
    lines = [f"line {number}\n" for number in range(6)]

    async def follow(readers: int) -> None:
        hub = hub_on(engine)
        waiting = [asyncio.create_task(read_to(hub, sum(map(len, lines)))) for _ in range(readers)]
        for line in lines:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(run.log, line)
        told = await asyncio.wait_for(asyncio.gather(*waiting), 20)
        await hub.close()
        assert told[0].count("event: log") == 6
        assert len(set(told)) == 1

    asked = []
    for readers in (1, 200):
        run.begin()
        statements.clear()
        asyncio.run(follow(readers))
        asked.append(len(statements))
    assert asked[1] < asked[0] + 10


def test_many_who_come_late_read_the_same_pages(database: str, run: Run) -> None:
    run.log(*(f"{number:04} " + "x" * 32_762 + "\n" for number in range(64)))  # 2 MiB
    engine = open_index(database)
    statements = counted(engine)

    async def read() -> list[str]:
        hub = hub_on(engine)
        told = await asyncio.gather(*(read_to(hub, run.end) for _ in range(200)))
        await hub.close()
        return told

    told = asyncio.run(asyncio.wait_for(read(), 30))
    assert len(set(told)) == 1
    assert told[0].count("event: log") == 64
    assert len(statements) < 60, "a page is 256 KiB and two questions"


def test_the_index_is_asked_for_a_limited_number_at_a_time(
    database: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.log("one\n")
    monkeypatch.setattr("web.livelog._SLICE", 2)
    engine = open_index(database)
    asked: list[int] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: object, _cursor: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        if " IN (" in statement:
            asked.append(len(parameters))

    async def read() -> None:
        hub = hub_on(engine)
        async with AsyncExitStack() as stack:
            for request_id in (QUEUED, RUNNING, DONE, REJECTED, ID):
                assert await stack.enter_async_context(hub.reading(request_id)) is not None
            asked.clear()  # perhaps in the middle of a round
            while len(asked) < 6:
                await asyncio.sleep(0.05)
        await hub.close()

    asyncio.run(read())
    assert [2, 2, 1] in [asked[number : number + 3] for number in range(4)]
    assert max(asked) == 2


def test_streams_have_a_limited_number_of_places(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.livelog.MOST_STREAMS", 2)
    app = samples.create_app(samples.settings(database))
    path = f"/requests/{RUNNING}/log.events"

    async def stream() -> asyncio.Task[None]:
        """A reader who reads for ever."""
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
        }
        begun, never = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, object]:
            await never.wait()
            return {}

        async def send(message: MutableMapping[str, object]) -> None:
            if message["type"] == "http.response.body":
                begun.set()

        task = asyncio.create_task(app(scope, receive, send))
        await asyncio.wait_for(begun.wait(), 5)
        return task

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
            return await client.get(path)

    async def crowd() -> httpx.Response:
        readers = [await stream() for _ in range(2)]
        answer = await ask()
        # also one that breaks off gives its place back
        readers.pop().cancel()
        await asyncio.sleep(0.05)
        readers.append(await stream())
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        return answer

    answer = asyncio.run(asyncio.wait_for(crowd(), 20))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Too many follow logs" in answer.text

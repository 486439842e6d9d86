# SPDX-License-Identifier: AGPL-3.0-or-later
"""The edge that all functions share, and periodic work."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest
from starlette.applications import Starlette

from functions.asgi import Background, function_app
from functions.periodic import Periodic
from testyard.errors import StoreError, TestyardError


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://function")


def test_work_lives_as_long_as_the_app() -> None:
    started, stop = threading.Event(), threading.Event()
    problem = ["not connected yet"]

    def run() -> None:
        started.set()
        stop.wait()

    async def use(app: Starlette) -> None:
        async with app.router.lifespan_context(app), client_of(app) as client:
            assert await asyncio.to_thread(started.wait, 5)
            answer = await client.get("/health")
            assert (answer.status_code, answer.json()) == (
                503,
                {"healthy": False, "reason": "not connected yet"},
            )
            problem[0] = ""
            answer = await client.get("/health")
            assert (answer.status_code, answer.json()) == (200, {"healthy": True, "reason": ""})
            assert (await client.get("/")).status_code == 404
            assert not stop.is_set()

    app = function_app([Background("work", run, stop.set, lambda: problem[0])])
    assert not started.is_set()
    asyncio.run(use(app))
    assert stop.is_set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_that_ended_by_a_bug_is_unhealthy() -> None:
    ended = threading.Event()

    def run() -> None:
        ended.set()
        raise ZeroDivisionError

    async def use(app: Starlette) -> httpx.Response:
        async with app.router.lifespan_context(app), client_of(app) as client:
            assert await asyncio.to_thread(ended.wait, 5)
            deadline = time.monotonic() + 5
            while (answer := await client.get("/health")).status_code == 200 and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            return answer

    answer = asyncio.run(use(function_app([Background("sweep", run, lambda: None, lambda: "")])))
    assert answer.status_code == 503
    assert answer.json()["reason"].startswith("sweep: ended")


@pytest.mark.parametrize(
    "error", [StoreError("store: away", details="more"), TestyardError("index: away", resolution="x")]
)
def test_a_failure_is_remembered_until_the_next_success(error: Exception) -> None:
    failures = [error, error]
    problems: list[str] = []

    def action() -> None:
        problems.append(periodic.problem)
        if failures:
            raise failures.pop()
        if len(problems) > 3:
            periodic.stop()

    periodic = Periodic("sweep", 0.001, action)
    periodic.run()
    first = str(error).splitlines()[0]
    assert problems == ["", f"sweep: {first}", f"sweep: {first}", ""]
    assert periodic.problem == ""


def test_stop_does_not_wait_for_the_interval() -> None:
    called = threading.Event()
    periodic = Periodic("sweep", 3600, called.set)
    thread = threading.Thread(target=periodic.run)
    thread.start()
    assert called.wait(5)
    periodic.stop()
    thread.join(5)
    assert not thread.is_alive()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The edge that all functions share: background work with the app's lifespan, and /health."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from functions.logs import start_logging
from functions.periodic import Periodic
from testyard.adapters.consumer import Consumer

__all__ = ["Background", "consuming", "function_app", "repeating", "start_logging"]

#: Seconds that background work has to end when the app ends.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Background:
    """Work in a thread: ``run`` until ``stop`` is called; ``problem`` is empty while all is well.

    Where nothing can run in the background (`functions.serverless`), ``once`` does what a turn of it does,
    and ``take`` what it does with a message of ``queue``.
    """

    name: str
    run: Callable[[], None]
    stop: Callable[[], None]
    problem: Callable[[], str]
    once: Callable[[], None] | None = None
    queue: str = ""
    take: Callable[[bytes], None] | None = None


def repeating(work: Periodic) -> Background:
    """Something that is done again and again."""
    return Background(work.name, work.run, work.stop, lambda: work.problem, once=work.action)


def consuming(name: str, work: Consumer) -> Background:
    """Messages of a queue."""
    return Background(name, work.run, work.stop, lambda: work.problem, queue=work.queue, take=work.take)


def function_app(work: Sequence[Background], *more: BaseRoute) -> Starlette:
    """An ASGI app that does the work while it lives and answers ``GET /health``, and what ``more`` does."""
    threads: list[threading.Thread] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        threads[:] = [threading.Thread(target=item.run, name=item.name, daemon=True) for item in work]
        for thread in threads:
            thread.start()
        yield
        for item in work:
            item.stop()
        for thread in threads:
            await asyncio.to_thread(thread.join, _PATIENCE)

    async def health(_request: Request) -> JSONResponse:
        # without a thread nothing goes on in the background (`functions.serverless`)
        problems = [problem for item in work if threads and (problem := item.problem())]
        problems += [
            f"{thread.name}: ended by a bug; see the log" for thread in threads if not thread.is_alive()
        ]
        body = {"healthy": not problems, "reason": "; ".join(problems)}
        return JSONResponse(body, status_code=503 if problems else 200)

    app = Starlette(routes=[Route("/health", health), *more], lifespan=lifespan)
    app.state.work = tuple(work)
    return app

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Functions where nothing runs between two calls: AWS Lambda and what is like it.

    functions.serverless.index      name it as the handler; settings come from the environment

| event | what is done |
|---|---|
| HTTP (API Gateway, load balancer, function URL) | the app answers |
| a clock's tick (EventBridge, ``Scheduled Event``) | one turn of all that is done again and again |
| messages of RabbitMQ (``aws:rmq``) | each is taken; if one fails, all come again |
| messages of SQS (``aws:sqs``), in queues named as ours | each is taken; those that failed come again |
"""

from __future__ import annotations

import base64
import importlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mangum import Mangum
from starlette.applications import Starlette

from functions.asgi import Background
from testyard.errors import TestyardError

log = logging.getLogger(__name__)


class Handler:
    """Answers events with an app that is made at the first one.

    Raises TestyardError for what failed: the event then comes again. What can never work goes to the
    dead letters.
    """

    def __init__(self, create_app: Callable[[], Starlette]) -> None:
        self.create_app = create_app
        self._app: Starlette | None = None
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer one event."""
        app = self._ready()
        work: tuple[Background, ...] = app.state.work
        if event.get("detail-type") == "Scheduled Event":
            _turn(work)
            return {}
        if event.get("eventSource") == "aws:rmq":
            for queue, body in _rabbit_messages(event):
                _take(work, queue, body)
            return {}
        if event.get("Records"):
            return {"batchItemFailures": list(_take_records(work, event["Records"]))}
        return Mangum(app, lifespan="off")(event, context)

    def _ready(self) -> Starlette:
        with self._lock:
            if self._app is None:
                self._app = self.create_app()
            return self._app


def _turn(work: tuple[Background, ...]) -> None:
    problems = []
    for item in work:
        if item.once is None:
            continue
        try:
            item.once()
        except TestyardError as error:  # one must not keep the others from their turn
            log.warning("%s: %s", item.name, error.brief)
            problems.append(error)
    if problems:
        raise problems[0]


def _rabbit_messages(event: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for place, messages in event["rmqMessagesByQueue"].items():
        queue = place.partition("::")[0]  # what follows is the virtual host
        for message in messages:
            yield queue, base64.b64decode(message["data"])


def _take_records(work: tuple[Background, ...], records: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for record in records:
        queue = str(record["eventSourceARN"]).rpartition(":")[2]
        try:
            _take(work, queue, record["body"].encode())
        except TestyardError as error:
            log.warning("%s: comes again: %s", queue, error.brief)
            yield {"itemIdentifier": record["messageId"]}


def _take(work: tuple[Background, ...], queue: str, body: bytes) -> None:
    take = next((item.take for item in work if item.take and item.queue == queue), None)
    if take is None:
        raise TestyardError(
            f"{queue}: this function reads no such queue",
            resolution=f"It reads: {', '.join(item.queue for item in work if item.queue) or 'none'}.",
        )
    take(body)


def _app_of(module: str) -> Handler:
    def create() -> Starlette:
        app = importlib.import_module(module).create_app()
        assert isinstance(app, Starlette)
        return app

    return Handler(create)


index = _app_of("functions.index.app")
status = _app_of("functions.status.app")
request = _app_of("functions.request.app")
forge = _app_of("functions.forge.app")
notify = _app_of("functions.notify.app")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hooks where nothing runs between two calls: AWS Lambda's events, with a real RabbitMQ."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import functions.webhook
from functions.serverless import Handler, forge
from tests.hooks import PROJECT, SECRET, Hook, github_pull, gitlab_merge
from tests.integration.brokers import channel_to, waiting
from tests.integration.functions.conftest import Configure
from tests.servers import Rabbit
from testyard.adapters.amqp import DEAD_LETTERS, HOOKS_QUEUE, declare_topology
from testyard.queue import QueueName
from testyard.request import parse_body

QUERY = "release=noble&arch=amd64&package=hello"
QUEUE = QueueName("upstream", "noble", "amd64")


def gateway(hook: Hook, *, encoded: bool = False) -> dict[str, Any]:
    """What API Gateway sends, format 2.0."""
    body = base64.b64encode(hook.body).decode() if encoded else hook.body.decode()
    path = f"/hooks/{hook.forge}"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": QUERY,
        "headers": {name.lower(): value for name, value in hook.headers.items()},
        "requestContext": {"http": {"method": "POST", "path": path, "sourceIp": "192.0.2.1"}},
        "body": body,
        "isBase64Encoded": encoded,
    }


def balancer(hook: Hook) -> dict[str, Any]:
    """What an Application Load Balancer sends."""
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu:1:targetgroup/x/1"}},
        "httpMethod": "POST",
        "path": f"/hooks/{hook.forge}",
        "queryStringParameters": dict(part.split("=") for part in QUERY.split("&")),
        "headers": {name.lower(): value for name, value in hook.headers.items()},
        "body": hook.body.decode(),
        "isBase64Encoded": False,
    }


@pytest.fixture
def ready(
    rabbit: Rabbit, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    configure(f"sqlite:///{tmp_path}/index.db")
    tables = "".join(
        f'[projects."{name}/{PROJECT}"]\nsecret_env = "HOOK_SECRET"\n' for name in ("github", "gitlab")
    )
    (tmp_path / "projects.toml").write_text(tables)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("TESTYARD_INTAKE__PROJECTS", str(tmp_path / "projects.toml"))
    monkeypatch.setenv("TESTYARD_TOPOLOGY__CONTEXTS", '["upstream"]')
    functions.webhook._made.clear()
    with channel_to(rabbit.url) as channel:
        declare_topology(channel, (QUEUE,))
        for queue in (HOOKS_QUEUE, DEAD_LETTERS, str(QUEUE)):
            channel.queue_purge(queue)
    yield
    functions.webhook._made.clear()


def taken(rabbit: Rabbit, queue: str) -> list[bytes]:
    found = []
    with channel_to(rabbit.url) as channel:
        while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
            found.append(body)
    return found


@pytest.mark.usefixtures("ready")
def test_from_the_forge_to_the_queue(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        gateway(github_pull("opened")),
        gateway(github_pull("opened", number=3), encoded=True),
        balancer(gitlab_merge("open")),
    ]
    answers = [functions.webhook.handler(event, None) for event in events]
    assert [answer["statusCode"] for answer in answers] == [202, 202, 202]
    refused = functions.webhook.handler(gateway(Hook("github", "push", {}, secret="a wrong one")), None)
    assert refused["statusCode"] == 403
    later = time.time() + 60
    monkeypatch.setattr("testyard.adapters.async_publisher.time.time", lambda: later)
    assert functions.webhook.handler(events[0], None)["statusCode"] == 202  # over a new connection
    monkeypatch.undo()
    assert waiting(rabbit, HOOKS_QUEUE) >= 4


@pytest.mark.usefixtures("ready")
def test_from_the_queue_to_a_request(rabbit: Rabbit) -> None:
    for event in [gateway(github_pull("opened"))] * 2:
        assert functions.webhook.handler(event, None)["statusCode"] == 202
    bodies = taken(rabbit, HOOKS_QUEUE)
    messages = [{"data": base64.b64encode(body).decode(), "redelivered": False} for body in (*bodies, b"[]")]
    event = {"eventSource": "aws:rmq", "rmqMessagesByQueue": {f"{HOOKS_QUEUE}::testyard": messages}}
    handler = Handler(forge.create_app)
    assert handler(event, None) == {}
    (body,) = taken(rabbit, str(QUEUE))
    assert parse_body(body).package == "hello"
    assert waiting(rabbit, DEAD_LETTERS) == 1
    assert json.loads(bodies[0])["forge"] == "github"

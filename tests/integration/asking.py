# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API as a script uses it."""

from __future__ import annotations

from typing import Any

from httpx import Response

from tests.api import Api
from tests.integration.brokers import NOBLE, channel_to
from tests.servers import Rabbit
from testyard.event import Event, EventKind
from testyard.index.write import apply_event, record_run
from testyard.openapi.models import ProblemDetails
from testyard.result import Result
from testyard.store import RunPath

ASK: dict[str, Any] = {"package": "gzip", "arch": ["amd64"], "triggers": ["gzip/1.12-1"]}


NOWHERE = "amqp://guest:guest@127.0.0.1:1/%2F"


def ask(yard: Api, who: dict[str, str], body: Any = ASK, **headers: str) -> Response:
    return yard.client.post(
        "/api/v1/requests", json=body, headers={**who, **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def ids(response: Response) -> list[str]:
    return [item["id"] for item in response.json()["requests"]]


def problem(response: Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    ProblemDetails.model_validate_json(response.content)
    found: dict[str, Any] = response.json()
    assert found["type"] == f"urn:testyard:problem:{kind}"
    assert found["status"] == status
    assert found["instance"].startswith("/api/v1/")
    return found


def bodies(rabbit: Rabbit, queue: object = NOBLE) -> list[bytes]:
    found = []
    with channel_to(rabbit.url) as channel:
        while (body := channel.basic_get(str(queue), auto_ack=True)[2]) is not None:
            found.append(body)
    return found


def tell(yard: Api, kind: EventKind, request_id: str, package: str = "gzip", **data: Any) -> None:
    with yard.memory.begin() as connection:
        apply_event(connection, Event(kind, request_id, str(NOBLE), package, data=data))


def store_run(yard: Api, request_id: str, exit_code: int = 0) -> RunPath:
    path = RunPath.parse(f"noble/amd64/g/gzip/20260101_101010_{request_id[:5]}@")
    result = Result(
        exit_code=exit_code,
        source="gzip",
        version="1.12-1",
        duration=5,
        testinfo={"custom_environment": ["ADT_TEST_TRIGGERS=gzip/1.12-1"]},
        request_id=request_id,
    )
    with yard.memory.begin() as connection:
        assert record_run(connection, "autopkgtest-noble", path, result)
    tell(yard, EventKind.STORED, request_id, container="autopkgtest-noble", path=str(path))
    return path

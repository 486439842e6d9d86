# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI document is true: whatever is sent, the answer is as documented, and no 5xx.

The apps run in this process, with real broker, store and database behind. A few hundred cases in CI, 50,000
with ``--long`` (docs/figures.md).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.python.asgi import get_client
from schemathesis.transport.asgi import ASGI_TRANSPORT
from starlette.types import Receive, Scope, Send

from tests.api import SITE, Api, Rooms, api
from tests.servers import Rabbit, Swift
from testyard.openapi.document import openapi_json
from testyard.request import new_request_id

#: What is checked of each answer. Not whether all that fits the schema is taken: that gzip is published,
#: or a release configured, no schema can say.
NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
SHORT, LONG = 15, 5000
_BURST = 1_000_000


@pytest.fixture(scope="module")
def yard(broker_node: Rabbit, store_node: Swift, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    database = f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/index.db"
    rates = {"identity_burst": _BURST, "address_burst": _BURST}
    with api(broker_node, database, store_node, rates=rates) as found:
        yield found


class Alive:
    """The rooms, which live already."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await self._rooms(scope, receive, send)


def operations() -> list[tuple[str, str, GenerationMode]]:
    """Each with what fits its schema, and with what does not if it has one."""
    return [
        (path, method, mode)
        for path, methods in openapi_json()["paths"].items()
        for method, operation in methods.items()
        for mode in MODES
        if mode is GenerationMode.POSITIVE or operation.get("parameters")
    ]


def fuzz(yard: Api, path: str, method: str, mode: GenerationMode, cases: int) -> Counter[int]:
    """Send so many cases; returns how often each status was answered. Fails at the first wrong answer."""
    schema = schemathesis.openapi.from_dict(openapi_json())
    schema.config.update(base_url=SITE)
    operation = schema[path][method.upper()]
    headers, seen = yard.token(), Counter[int]()
    known = yard.client.post(
        "/api/v1/requests", json={"package": "gzip", "arch": ["amd64"], "force": True}, headers=headers
    ).json()["requests"][0]["id"]
    checks = CHECKS.get_by_names(NAMES)

    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize="CI" in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        case=operation.as_strategy(generation_mode=mode), place=hypothesis.strategies.integers(0, 3)
    )
    def send(case: Any, place: int) -> None:
        # now and then one that is there, or could be
        for name in ("request_id", "reference"):
            if mode is GenerationMode.POSITIVE and name in case.path_parameters and place < 2:
                case.path_parameters[name] = (known, new_request_id())[place]
        response = ASGI_TRANSPORT.send(case, session=client, base_url=SITE, headers=headers)
        seen[response.status_code] += 1
        case.validate_response(response, checks=checks)

    with get_client(Alive(yard.rooms)) as client:
        send()
    return seen


@pytest.mark.parametrize(("path", "method", "mode"), operations())
def test_answers_are_as_documented(yard: Api, path: str, method: str, mode: GenerationMode) -> None:
    seen = fuzz(yard, path, method, mode, SHORT)
    assert seen.total() >= 1


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("path", "method", "mode"), operations())
def test_answers_are_as_documented_many_times(
    yard: Api, path: str, method: str, mode: GenerationMode
) -> None:
    seen = fuzz(yard, path, method, mode, LONG)
    print(f"{method} {path} {mode.value}: {dict(seen)}")
    assert seen.total() >= LONG / 2 or not openapi_json()["paths"][path][method].get("parameters")

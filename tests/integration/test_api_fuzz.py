# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI document is true: whatever is sent, the answer is as documented, and no 5xx.

The apps run in this process, with real broker, store and database behind. A few hundred cases in CI, 50,000
with ``--long`` (docs/figures.md).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from starlette.testclient import TestClient

from tests.api import SITE, Api, api
from tests.conftest import NewIndex
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
SHORT, LONG = 40, 6000
_BURST = 1_000_000


@pytest.fixture(scope="module")
def yard(broker_node: Rabbit, store_node: Swift, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    database = f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/index.db"
    rates = {"identity_burst": _BURST, "address_burst": _BURST}
    with api(broker_node, database, store_node, rates=rates) as found:
        yield found


def schema_of(mode: GenerationMode) -> Any:
    config = schemathesis.Config()
    config.generation.update(modes=[mode], with_security_parameters=False)
    schema = schemathesis.openapi.from_dict(openapi_json(), config=config)
    schema.config.update(base_url=SITE)
    return schema


def operations() -> list[tuple[str, str]]:
    found = openapi_json()["paths"]
    return [(path, method) for path, methods in found.items() for method in methods]


def fuzz(yard: Api, path: str, method: str, mode: GenerationMode, cases: int) -> Counter[int]:
    """Send so many cases; returns how often each status was answered. Fails at the first wrong answer."""
    operation = schema_of(mode)[path][method.upper()]
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
    @hypothesis.given(case=operation.as_strategy(), place=hypothesis.strategies.integers(0, 3))
    def send(case: Any, place: int) -> None:
        # now and then one that is there, or could be
        for name in ("request_id", "reference"):
            if name in case.path_parameters and place < 2:
                case.path_parameters[name] = (known, new_request_id())[place]
        response = case.call(session=yard.client, headers=headers)
        seen[response.status_code] += 1
        case.validate_response(response, checks=checks)

    send()
    return seen


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), operations())
def test_answers_are_as_documented(yard: Api, path: str, method: str, mode: GenerationMode) -> None:
    seen = fuzz(yard, path, method, mode, SHORT)
    assert sum(seen.values()) >= 1

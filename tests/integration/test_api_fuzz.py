# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI document is true: whatever is sent, the answer is as documented, and no 5xx.

The apps run in this process, with real broker, store and database behind. A few hundred cases in CI, 50,000
with ``--long`` (docs/figures.md).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.python.asgi import get_client
from schemathesis.transport.asgi import ASGI_TRANSPORT
from sqlalchemy import func, select
from starlette.types import Receive, Scope, Send

from tests.api import SITE, Api, Rooms, api
from tests.servers import Rabbit, Swift
from testyard.intake.schema import asked
from testyard.openapi.document import openapi_json
from testyard.openapi.models import ProblemDetails, Receipts
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
SHORT, LONG = 15, 500
_HOSTILE_SHORT, _HOSTILE_LONG = 300, 45_000
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
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]  # what is wrong may be long as well
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
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), place=st.integers(0, 3))
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


#: What people and attackers write where a text is expected.
_WORDS = (
    *("gzip", "noble", "amd64", "arm64", "gzip/1.12-1", "jane/tools", "A=b", "", " ", "0", ".."),
    *("../../etc/passwd", "<script>alert(1)</script>", "' OR 1=1 --", "a\r\nX-Evil: 1", "\0", "{}", "%00"),
    *("migration-reference/0", "x" * 5000, "\u202e", "http://169.254.169.254/", "file:///etc/passwd"),
    *("https://u:p@example.org/x", "https://example.org/x#main", "u:secret@jane/tools:0123456789ABCDEF"),
    *("ubuntu", "ppa", "upstream", "huge", "${jndi:ldap://x}", "\ud800", "$(id)", "`id`", "{{7*7}}"),
)
_TEXTS = st.sampled_from(_WORDS) | st.text(max_size=20)
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)
_LISTS = st.lists(_TEXTS, max_size=3)
_NAMED = ("release", "context", "test-git", "build-git", "testname", "swiftuser")
_KINDS = {
    **dict.fromkeys(_NAMED, _TEXTS),
    **dict.fromkeys(("arch", "triggers", "ppas", "env", "readable-by"), _LISTS),
    **dict.fromkeys(("all-proposed", "force"), st.booleans()),
}
_NEARLY = st.fixed_dictionaries(
    {"package": st.sampled_from(("gzip", "bzip2", "xz-utils"))},
    optional={
        **_KINDS,
        "arch": st.lists(st.sampled_from(("amd64", "arm64")), min_size=1, max_size=2),
        "triggers": st.lists(st.sampled_from(("gzip/1.12-1", "bzip2/1")), max_size=2),
    },
)
_ITEMS = st.one_of(
    _NEARLY,
    st.tuples(_NEARLY, st.dictionaries(st.sampled_from(sorted(_KINDS)) | _TEXTS, _JUNK, max_size=2)).map(
        lambda pair: {**pair[0], **pair[1]}
    ),
    _JUNK,
)
_BODIES = st.one_of(
    _ITEMS.map(lambda value: json.dumps(value).encode()),
    st.lists(_ITEMS, max_size=4).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from((b"[" * 3000, b'{"package": 1e999}', b"NaN", b"\xef\xbb\xbf{}", b"1" * 5000)),
)


def bombard(yard: Api, cases: int) -> Counter[int]:
    """Send hostile bodies; each is taken whole or not at all, and nothing of ours fails."""
    token, seen = yard.token(), Counter[int]()
    documented = {int(status) for status in openapi_json()["paths"]["/api/v1/requests"]["post"]["responses"]}

    def kept() -> int:
        with yard.memory.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(asked)).scalar_one())

    @hypothesis.settings(
        max_examples=cases, deadline=None, database=None, derandomize="CI" in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(_BODIES)
    def send(body: bytes) -> None:
        before = kept()
        response = yard.client.post(
            "/api/v1/requests", content=body, headers={**token, "Content-Type": "application/json"}
        )
        seen[response.status_code] += 1
        assert response.status_code in documented
        assert response.status_code < 500
        assert "Traceback" not in response.text
        if response.status_code >= 400:
            ProblemDetails.model_validate_json(response.content)
            assert response.json()["instance"] == "/api/v1/requests"
            assert kept() == before
        else:
            receipts = Receipts.model_validate_json(response.content).requests
            assert kept() == before + sum(one.standing == "accepted" for one in receipts)

    send()
    return seen


def test_hostile_bodies(yard: Api) -> None:
    assert bombard(yard, _HOSTILE_SHORT).keys() >= {202, 422}


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_hostile_bodies(yard: Api) -> None:
    seen = bombard(yard, _HOSTILE_LONG)
    print(f"hostile bodies: {dict(seen)}")
    assert seen.total() >= _HOSTILE_LONG

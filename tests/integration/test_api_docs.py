# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/api.md is complete, and its examples work as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.api import api
from tests.servers import Rabbit, Swift
from testyard.local.ports import free_ports
from testyard.openapi.document import FILTERS, openapi_json

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
SCHEMAS: dict[str, Any] = openapi_json()["components"]["schemas"]
FIELDS = sorted({name for schema in SCHEMAS.values() for name in schema.get("properties", {})})


def enums(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value.get("enum", ())
        for inner in value.values():
            yield from enums(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from enums(inner)


def code() -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", DOCS.read_text()))


@pytest.mark.parametrize("name", [*FIELDS, *FILTERS, "limit", "next"])
def test_every_field(name: str) -> None:
    assert name in code(), f"docs/api.md lacks {name}"


@pytest.mark.parametrize("word", sorted(set(enums(SCHEMAS))))
def test_every_state(word: str) -> None:
    assert word in code(), f"docs/api.md lacks {word}"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = openapi_json()["paths"]
    return [(method.upper(), path, one) for path, methods in paths.items() for method, one in methods.items()]


@pytest.mark.parametrize(("method", "path"), [found[:2] for found in operations()])
def test_every_address(method: str, path: str) -> None:
    shown = f"{method} {path.replace('{request_id}', '{id}').replace('{reference}', '{run}')}"
    assert shown in code(), f"docs/api.md lacks {shown}"


@pytest.mark.parametrize(
    "status", sorted({status for *_, one in operations() for status in one["responses"]})
)
def test_every_status(status: str) -> None:
    assert re.search(rf"\| {status}\b", DOCS.read_text()), f"docs/api.md lacks {status}"


def test_the_examples(broker: Rabbit, store_node: Swift, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCS.read_text(), re.S | re.M)
    assert len(blocks) >= 5
    (port,) = free_ports(1)
    with api(broker, f"sqlite:///{tmp_path}/index.db", store_node) as yard:
        server = uvicorn.Server(uvicorn.Config(yard.rooms, port=port, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.02)
            token = yard.token()["Authorization"].split()[1]
            script = "\n".join(blocks)
            script = re.sub(r"^SITE=\S+", f"SITE=http://127.0.0.1:{port}", script, flags=re.M)
            script = re.sub(r"^TOKEN=\S+", f"TOKEN={token}", script, flags=re.M)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.should_exit = True
            thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("queued\n")
    answers, place = [], len("queued\n")
    while place < len(done.stdout):
        value, place = json.JSONDecoder().raw_decode(done.stdout, place)
        answers.append(value)
        while done.stdout[place:].startswith("\n"):
            place += 1
    cancelled, again, listed, many = answers
    assert cancelled["reason"] == "wrong version"
    assert again["requests"][0]["standing"] in ("accepted", "already queued")
    assert listed["requests"]
    assert [item["arch"] for item in many["requests"]] == ["amd64", "arm64", "amd64"]

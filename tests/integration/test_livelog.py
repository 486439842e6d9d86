# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running log from the test to its readers, every part real: whole, in order, once; also who comes late."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.spectators import Reader, Stage, listen, open_client, poll
from tests.integration.yard import Yard, body_of
from tests.servers import Swift
from testyard.index import livelog, open_index

TOKEN = "t0p-s3cr3t-token"


@pytest.fixture
def stage(yard: Yard, store_node: Swift) -> Iterator[Stage]:
    made = Stage(yard, store_node.public_url)
    try:
        yield made
    finally:
        made.close()


def request(stage: Stage, *env: str, package: str = "ty-ticks", **more: object) -> str:
    """Ask for a run; returns the address of its log."""
    request_id = str(uuid.uuid4())
    stage.yard.publish(body_of(package, env=list(env), uuid=request_id, **more))
    return f"{stage.url}/requests/{request_id}/log"


def test_every_reader_gets_all_once_and_in_order(stage: Stage) -> None:
    stage.start("status")
    stage.start("web")
    worker = stage.yard.worker()
    address = request(stage, "TY_TICKS=100", f"TY_TOKEN={TOKEN}")
    early, late = [Reader() for _ in range(24)], [Reader() for _ in range(24)]

    async def read(client: httpx.AsyncClient, readers: list[Reader]) -> None:
        half = len(readers) // 2
        await asyncio.gather(
            *(listen(client, address, reader) for reader in readers[:half]),
            *(poll(client, address, reader) for reader in readers[half : half + half // 2]),
            *(poll(client, address, reader, wait=5) for reader in readers[half + half // 2 :]),
        )

    async def all_readers() -> None:
        async with open_client() as client:
            first = asyncio.create_task(read(client, early))
            while "tick 20" not in early[0].text:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(stage.restart, "web", kill=True)
            while "tick 45" not in early[0].text:
                await asyncio.sleep(0.05)
            second = asyncio.create_task(read(client, late))
            await asyncio.to_thread(stage.restart, "status")
            await asyncio.to_thread(stage.restart, "web")
            await asyncio.gather(first, second)

    asyncio.run(asyncio.wait_for(all_readers(), 120))
    stage.yard.drain(worker)
    stored = stage.stored_log().decode()
    assert [line.split()[1] for line in stored.splitlines() if line.startswith("tick ")] == [
        str(number) for number in range(100)
    ]
    for reader in (*early, *late):
        assert reader.text == stored
        assert reader.gaps == 0
        assert reader.state["state"] == "done"
    assert early[0].connections >= 2, "it was cut off"
    assert TOKEN not in stored
    assert "ä€😀 ***" in stored


def test_a_private_log_has_no_readers(stage: Stage) -> None:
    stage.start("status")
    stage.start("web")
    worker = stage.yard.worker()
    address = request(stage, "TY_TICKS=2", swiftuser="reader")
    reader = Reader()

    async def read() -> None:
        async with open_client() as client:
            await listen(client, address, reader)

    asyncio.run(asyncio.wait_for(read(), 60))
    stage.yard.drain(worker)
    assert (reader.text, reader.state["package"], reader.state["phases"]) == ("", "private-test", [])
    answer = httpx.get(f"{address}.json", trust_env=False).json()
    assert (answer["pieces"], answer["over"]) == ([], True)
    assert httpx.get(address, trust_env=False).status_code == 404
    assert stage.yard.events("log") == []
    with open_index(stage.database).connect() as connection:
        assert livelog.after(connection, address.split("/")[-2], 1, 0) == ()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running log from the test to its readers, every part real: whole, in order, once; also who comes late."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.spectators import Reader, Stage, listen, open_client, poll
from tests.integration.yard import Yard, body_of
from tests.servers import Rabbit, Swift
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


def command(stage: Stage, *words: str) -> str:
    """What the command line prints."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    done = subprocess.run(
        [sys.executable, "-m", "testyard", *(word.removesuffix("/log") for word in words)],
        env={**clean, "TESTYARD_CONFIG": str(stage.folder / "settings.toml")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def reached(reader: Reader, words: str) -> None:
    """Wait until a reader has got so far."""
    while words not in reader.text:
        await asyncio.sleep(0.05)


def test_every_reader_gets_all_once_and_in_order(stage: Stage) -> None:
    stage.start("status")
    stage.start("web")
    worker = stage.yard.worker()
    address = request(stage, "TY_TICKS=110", f"TY_TOKEN={TOKEN}")
    early, late = [Reader() for _ in range(24)], [Reader() for _ in range(24)]
    printed: list[str] = []

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
            await reached(early[0], "tick 0 ")
            terminal = asyncio.create_task(asyncio.to_thread(command, stage, "log", "--follow", address))
            await reached(early[0], "tick 45")  # by then it has begun
            await asyncio.to_thread(stage.restart, "web", kill=True)
            await reached(early[0], "tick 75")
            second = asyncio.create_task(read(client, late))
            parts = [asyncio.to_thread(stage.restart, part) for part in ("status", "web")]
            await asyncio.gather(first, second, *parts)
            printed.append(await terminal)

    asyncio.run(asyncio.wait_for(all_readers(), 120))
    stage.yard.drain(worker)
    stored = stage.stored_log().decode()
    assert [line.split()[1] for line in stored.splitlines() if line.startswith("tick ")] == [
        str(number) for number in range(110)
    ]
    for reader in (*early, *late):
        assert reader.text == stored
        assert reader.gaps == 0
        assert reader.state["state"] == "done"
    assert early[0].connections >= 2, "it was cut off"
    assert printed == [stored]
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


@pytest.mark.long
def test_a_broker_that_is_killed_is_at_most_a_gap(stage: Stage, broker_node: Rabbit) -> None:
    stage.start("status")
    stage.start("web")
    worker = stage.yard.worker()
    address = request(stage, "TY_TICKS=200")
    reader = Reader()

    async def read() -> None:
        async with open_client() as client:
            reading = asyncio.create_task(listen(client, address, reader))
            await reached(reader, "tick 40")
            await asyncio.to_thread(broker_node.kill)
            await asyncio.sleep(5)
            await asyncio.to_thread(broker_node.start)
            await reading

    asyncio.run(asyncio.wait_for(read(), 200))
    ticks = [int(line.split()[1]) for line in reader.text.splitlines() if line.startswith("tick ")]
    assert ticks == sorted(set(ticks)), "none twice, and in order"
    assert ticks[-1] == 199
    assert len(ticks) == 200 or reader.gaps
    print(f"{200 - len(ticks)} of 200 lines lost with the broker, {reader.gaps} gaps told")
    worker.kill()

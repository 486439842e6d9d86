# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running log from the test to its readers, every part real: whole, in order, once; also who comes late."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def command(stage: Stage, *words: str) -> Iterator[Path]:
    """The file to which the command line prints; at the end it has ended well by itself."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    printed, said = stage.folder / "printed", stage.folder / "said"
    with printed.open("wb") as out, said.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "testyard", *words],
            env={**clean, "TESTYARD_CONFIG": str(stage.folder / "settings.toml")},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
        try:
            yield printed
            assert process.wait(60) == 0, said.read_text()
        finally:
            process.kill()
            process.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something; whoever calls sets the limit."""
    while not condition():
        await asyncio.sleep(0.05)


def test_every_reader_gets_all_once_and_in_order(stage: Stage) -> None:
    stage.start("status")
    stage.start("web")
    worker = stage.yard.worker()
    address = request(stage, "TY_TICKS=120", f"TY_TOKEN={TOKEN}")
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
            await until(lambda: "tick 0 " in early[0].text)
            with command(stage, "log", "--follow", address.removesuffix("/log")) as printed:
                await until(lambda: printed.stat().st_size > 0)
                await asyncio.to_thread(stage.restart, "web", kill=True)
                await until(lambda: "tick 75 " in early[0].text)
                second = asyncio.create_task(read(client, late))
                parts = [asyncio.to_thread(stage.restart, part) for part in ("status", "web")]
                await asyncio.gather(first, second, *parts)

    asyncio.run(asyncio.wait_for(all_readers(), 120))
    stage.yard.drain(worker)
    stored = stage.stored_log().decode()
    assert [line.split()[1] for line in stored.splitlines() if line.startswith("tick ")] == [
        str(number) for number in range(120)
    ]
    for reader in (*early, *late):
        assert reader.text == stored
        assert reader.gaps == 0
        assert reader.state["state"] == "done"
    assert early[0].connections >= 2, "it was cut off"
    assert (stage.folder / "printed").read_text() == stored
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
            await until(lambda: "tick 40 " in reader.text)
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

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a running log costs: how soon its lines reach 200 readers, and what a flood of 200 MB does.

Every part is real: worker, RabbitMQ, Swift, status function, site, readers over HTTP, all on this machine.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.bench.figures import Figures
from tests.integration.spectators import Reader, Stage, listen, open_client
from tests.integration.yard import Yard, body_of
from tests.servers import rabbit_node, swift_server
from testyard.adapters.amqp import STATUS_QUEUE
from testyard.result import Result
from testyard.run import Phase

READERS = (0, 1, 200)
#: MB of log.
FLOOD = 190


def measure(folder: Path, seconds: int) -> Figures:
    """A run of so many seconds with no reader, one, and 200; and the flood, told to nobody and told."""
    figures: Figures = {}
    with stage(folder) as made:
        worker = psutil.Process(made.yard.worker().pid)
        for readers in READERS:
            found = watched(made, worker, readers, seconds)
            figures |= {f"{readers} readers: {name}": value for name, value in found.items()}
        for private in (True, False):  # a private run's log is told to nobody
            found = flood(made, worker, private=private)
            told = "to nobody" if private else "live"
            figures |= {f"flood told {told}: {name}": value for name, value in found.items()}
    return figures


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Broker, store, status function and site."""
    with rabbit_node(folder / "rabbit") as rabbit, swift_server(folder / "swift") as swift:
        yard = Yard(rabbit, swift, folder)
        made = Stage(yard, swift.public_url)
        try:
            made.start("status")
            made.start("web")
            yield made
        finally:
            made.close()
            yard.close()


def watched(made: Stage, worker: psutil.Process, readers: int, seconds: int) -> Figures:
    """Seconds from a line's print to its arrival at the readers; shares of a processor meanwhile."""
    request_id = ask(made, f"TY_TICKS={seconds * 10}")
    web, status = psutil.Process(made.pid("web")), psutil.Process(made.pid("status"))
    wait(lambda: phase_of(made, request_id) == Phase.TEST, "the test runs")
    before = {part: processor(part) for part in (worker, web, status)}
    begun = time.monotonic()
    found = [Reader() for _ in range(readers)]

    async def read() -> None:
        async with open_client() as client:
            address = f"{made.url}/requests/{request_id}/log"
            await asyncio.gather(*(listen(client, address, reader) for reader in found))

    asyncio.run(read())
    wait(lambda: stored(made, request_id), "it is stored")
    passed = time.monotonic() - begun
    share = {name: (processor(part) - before[part]) / passed for name, part in
             (("worker", worker), ("site", web), ("status function", status))}  # fmt: skip
    # the first piece holds what was printed before the reader came
    delays = sorted(delay for reader in found for delay in reader.delays(since=1))
    lines = {reader.text.count("tick ") for reader in found}
    assert lines <= {seconds * 10}, lines
    figures = {f"processor, {name}, %": round(100 * value, 1) for name, value in share.items()}
    if delays:
        figures |= {
            "lines": len(delays),
            "p50, s": round(statistics.median(delays), 3),
            "p99, s": round(delays[int(len(delays) * 0.99)], 3),
            "latest, s": round(delays[-1], 3),
        }
    return figures


def flood(made: Stage, worker: psutil.Process, *, private: bool) -> Figures:
    """A test that prints as fast as it can."""
    request_id = ask(made, "TY_TICKS=1", f"TY_FLOOD_MB={FLOOD}", private=private)
    status = psutil.Process(made.pid("status"))
    most = {"worker": 0, "status": 0, "queue": 0}
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            most["worker"] = max(most["worker"], worker.memory_info().rss)
            most["status"] = max(most["status"], status.memory_info().rss)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:

        def ended() -> bool:
            queue = made.yard.channel.queue_declare(STATUS_QUEUE, passive=True).method.message_count
            most["queue"] = max(most["queue"], int(queue))
            return stored(made, request_id)

        wait(ended, "it is stored", seconds=300)
    finally:
        over.set()
        sampler.join()
    result = next(one for one in made.yard.results() + private_results(made) if one.request_id == request_id)
    database = sum(path.stat().st_size for path in made.folder.glob("index.db*"))
    test = next(phase.seconds for phase in result.phases if phase.phase is Phase.TEST)
    return {
        "test, s": round(test or 0, 2),
        "worker's memory, MB": round(most["worker"] / 1e6),
        "status function's memory, MB": round(most["status"] / 1e6),
        "index, MB": round(database / 1e6, 1),
        "messages in the queue, at most": most["queue"],
    }


def ask(made: Stage, *env: str, private: bool = False) -> str:
    request_id = str(uuid.uuid4())
    more = {"swiftuser": "reader"} if private else {}
    made.yard.publish(body_of("ty-ticks", env=list(env), uuid=request_id, **more))
    return request_id


def phase_of(made: Stage, request_id: str) -> str:
    told = [event for event in made.yard.events("phase") if event["request_id"] == request_id]
    return told[-1]["data"]["phase"] if told else ""


def stored(made: Stage, request_id: str) -> bool:
    return any(event["request_id"] == request_id for event in made.yard.events("stored"))


def private_results(made: Stage) -> list[Result]:
    containers = [name for name in made.yard.store.containers() if name.startswith("private-")]
    return [result for name in containers for result in made.yard.results(name)]


def processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def wait(condition: Callable[[], bool], what: str, *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)

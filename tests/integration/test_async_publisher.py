# SPDX-License-Identifier: AGPL-3.0-or-later
"""Publishing from an event loop, with a real RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from tests.integration.brokers import NOBLE, channel_to, wait_for, waiting
from tests.servers import Rabbit, rabbit_node
from testyard.adapters.async_publisher import AsyncPublisher
from testyard.errors import BrokerError, NotSentError, NotTakenError

QUEUE = str(NOBLE)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Any:
    """Both loops that a function may have."""

    def runner(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(
            loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None
        ) as loop:
            return loop.run(work)

    return runner


def test_many_at_once_are_all_confirmed_and_persistent(broker: Rabbit, run: Any) -> None:
    async def work() -> None:
        publisher = AsyncPublisher(broker.url)
        sent = (
            publisher.publish("", QUEUE, str(number).encode(), message_id=f"m{number}", headers={"n": number})
            for number in range(500)
        )
        await asyncio.gather(*sent)
        await publisher.close()

    run(work())
    assert waiting(broker, QUEUE) == 500
    with channel_to(broker.url) as channel:
        method, properties, body = channel.basic_get(QUEUE, auto_ack=True)
    assert method is not None
    assert properties is not None
    assert (properties.delivery_mode, properties.message_id, properties.headers) == (
        2,
        f"m{body.decode()}",
        {"n": int(body)},
    )


def test_a_returned_message_fails_alone(broker: Rabbit, run: Any) -> None:
    async def work() -> list[BaseException | None]:
        publisher = AsyncPublisher(broker.url)
        queues = [QUEUE, "nosuch", QUEUE, "nosuch", QUEUE]
        sent = (publisher.publish("", queue, b"x", mandatory=True) for queue in queues)
        found = await asyncio.gather(*sent, return_exceptions=True)
        await publisher.close()
        return found

    found = run(work())
    assert [type(each) for each in found] == [
        type(None),
        NotTakenError,
        type(None),
        NotTakenError,
        type(None),
    ]
    assert "there is no queue nosuch; nothing was sent" in str(found[1])
    assert waiting(broker, QUEUE) == 3


def test_a_closed_channel_fails_what_was_under_way_and_the_next_works(broker: Rabbit, run: Any) -> None:
    async def work() -> None:
        publisher = AsyncPublisher(broker.url)
        with pytest.raises(BrokerError, match="no exchange 'nosuch'"):
            await publisher.publish("nosuch", "x", b"")
        await publisher.publish("", QUEUE, b"x")
        await publisher.close()

    run(work())
    assert waiting(broker, QUEUE) == 1


def test_a_connection_that_comes_too_late_is_closed(broker: Rabbit, run: Any) -> None:
    port = int(broker.url.rpartition(":")[2].partition("/")[0])

    def connections() -> int:
        found = psutil.Process().net_connections("tcp")
        return sum(
            1 for each in found if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED"
        )

    before = connections()

    async def work() -> None:
        publisher = AsyncPublisher(broker.url, patience=0.0001)
        with pytest.raises(NotSentError):
            await publisher.open()
        give_up = asyncio.get_running_loop().time() + 20
        await asyncio.sleep(0.5)
        while connections() > before:
            assert asyncio.get_running_loop().time() < give_up
            await asyncio.sleep(0.1)

    run(work())


def test_queues_are_declared(broker: Rabbit, run: Any) -> None:
    async def work() -> None:
        publisher = AsyncPublisher(broker.url, queues=("testyard-test-a", "testyard-test-b"))
        await publisher.publish("", "testyard-test-b", b"x", mandatory=True)
        await publisher.close()

    run(work())
    assert waiting(broker, "testyard-test-b") == 1
    with channel_to(broker.url) as channel:
        channel.queue_delete("testyard-test-a")
        channel.queue_delete("testyard-test-b")


def test_too_many_are_refused_and_not_kept(broker: Rabbit, run: Any) -> None:
    async def work() -> list[BaseException | None]:
        publisher = AsyncPublisher(broker.url, most=10)
        await publisher.open()
        sent = (publisher.publish("", QUEUE, b"x") for _ in range(30))
        found = await asyncio.gather(*sent, return_exceptions=True)
        await publisher.close()
        return found

    found = run(work())
    assert [type(each) for each in found].count(NotSentError) == 20
    assert waiting(broker, QUEUE) == 10


def test_one_who_went_away_harms_nobody(broker: Rabbit, run: Any) -> None:
    async def work() -> None:
        publisher = AsyncPublisher(broker.url)
        await publisher.open()
        gone = asyncio.ensure_future(publisher.publish("", QUEUE, b"x"))
        await asyncio.sleep(0)
        gone.cancel()
        await publisher.publish("", QUEUE, b"y")
        await publisher.close()

    run(work())
    assert waiting(broker, QUEUE) == 2


def test_a_broker_that_goes_away(tmp_path: Path) -> None:
    async def restarted(rabbit: Rabbit) -> None:
        publisher = AsyncPublisher(rabbit.url, queues=(QUEUE,), patience=2, pause=0.5)
        await publisher.publish("", QUEUE, b"before", mandatory=True)
        rabbit.kill()
        await asyncio.sleep(0.1)
        with pytest.raises(NotSentError, match="cannot connect"):
            await publisher.publish("", QUEUE, b"lost")
        with pytest.raises(NotSentError, match="cannot connect"):  # told at once, without a new attempt
            await asyncio.wait_for(publisher.publish("", QUEUE, b"lost"), 0.05)
        await asyncio.to_thread(rabbit.start)
        await asyncio.sleep(0.5)
        await publisher.publish("", QUEUE, b"after", mandatory=True)
        with rabbit.frozen(), pytest.raises(BrokerError, match="no confirm within 2 s"):
            await publisher.publish("", QUEUE, b"perhaps")
        await publisher.publish("", QUEUE, b"after", mandatory=True)
        await publisher.close()

    async def without_room(rabbit: Rabbit) -> None:
        publisher = AsyncPublisher(rabbit.url, patience=1)
        with pytest.raises(BrokerError, match="no confirm within 1 s"):
            await publisher.publish("", QUEUE, b"perhaps")
        with pytest.raises(NotSentError, match="short of memory or disk"):
            await asyncio.wait_for(publisher.publish("", QUEUE, b"not sent"), 0.1)
        await publisher.close()

    with rabbit_node(tmp_path / "state") as rabbit:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(restarted(rabbit))
        # a queue that is younger than 2 s does not outlive a kill, and with it "before" (docs/delivery.md)
        wait_for(lambda: waiting(rabbit, QUEUE) in (3, 4))
        rabbit.stop()
        file = rabbit.state.path / "rabbitmq" / "advanced.config"
        limit = "[{rabbit, [{disk_free_limit, {absolute, 1000000000000000}},"
        file.write_text(file.read_text().replace("[{rabbit, [", limit))
        rabbit.start()
        asyncio.run(without_room(rabbit))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker's loop: takes deliveries from the broker, hands each to a job, settles it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import connect, declare_topology
from testyard.errors import BrokerError, SettingsError, TestyardError
from testyard.queue import QueueName
from worker.delivery import Delivery
from worker.intake import Intake
from worker.job import Job, Settlement
from worker.notify import notify
from worker.tools import Tools
from worker.turns import Turns

log = logging.getLogger(__name__)

#: Seconds between two looks at what jobs have settled; an idle worker wakes up that often.
_TICK = 0.2
#: Seconds between two signs of life.
_BEAT = 2.0
#: Seconds before the broker is asked again after it was away.
_RECONNECT = 1.0
#: Seconds before a request that a bug of ours stopped goes back to its queue.
_AFTER_BUG = 10.0


class WorkerLoop:
    """``drain`` lets running jobs end and takes no more; ``stop`` gives them back."""

    def __init__(self, tools: Tools, queues: Iterable[QueueName], alive: Path) -> None:
        self._tools = tools
        self._queues = tuple(queues)
        self._turns = Turns(self._queues, tools.settings.worker.shares)
        self._alive = alive
        self._jobs: dict[threading.Thread, Job] = {}
        self._settled: queue.Queue[tuple[Delivery, Settlement]] = queue.Queue()
        self._generation = 0
        self._outstanding = 0  # deliveries that are not settled, of all connections
        self._beaten = 0.0
        self._draining = threading.Event()
        self._stopping = threading.Event()

    @property
    def draining(self) -> bool:
        """True when it was told to take no more."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Take no more requests; `run` returns when the running ones are done."""
        self._draining.set()

    def stop(self) -> None:
        """Give all requests back; `run` returns soon."""
        self._stopping.set()
        self._draining.set()

    def run(self) -> None:
        """Work until told to end."""
        while not self._over():
            try:
                self._serve()
            # a settings error: the authority's certificate is being replaced
            except (AMQPError, OSError, BrokerError, SettingsError) as error:
                words = getattr(error, "brief", "") or str(error) or type(error).__name__
                log.warning("%s; trying again", words)
                self._beat()
                self._stopping.wait(_RECONNECT)
        for thread, job in self._jobs.items():
            if self._stopping.is_set():
                job.cancel()
            thread.join()

    def _over(self) -> bool:
        running = any(thread.is_alive() for thread in self._jobs)
        return self._stopping.is_set() or (self._draining.is_set() and not running and self._settled.empty())

    def _serve(self) -> None:
        url = self._tools.settings.broker.url.get_secret_value()
        with connect(url) as connection:
            self._generation += 1
            channel = connection.channel()
            declare_topology(channel, self._queues)
            slots = self._tools.settings.worker.slots
            elsewhere = self._outstanding
            intake = Intake(channel, self._queues, self._turns, slots, self._on_message, elsewhere=elsewhere)
            if not self._draining.is_set():
                intake.start()
                notify("READY=1")
            log.info("waiting for requests on %s", ", ".join(str(name) for name in self._queues))
            while not self._over():
                connection.process_data_events(time_limit=_TICK)
                intake.look()
                self._settle(channel, intake)
                self._beat()
                if self._draining.is_set() and intake.listening:
                    log.info("draining: %s", self._words())
                    intake.stop()
                    for job in self._jobs.values():
                        job.let_go()
            self._give_back(channel, intake)

    def _on_message(
        self, queue: QueueName, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        delivery = Delivery(
            tag=method.delivery_tag,
            generation=self._generation,
            queue=str(queue),
            body=body,
            redelivered=bool(method.redelivered),
            message_id=properties.message_id,
            headers=properties.headers,
        )
        self._outstanding += 1
        job = Job(delivery, self._tools)
        thread = threading.Thread(target=self._perform, args=(job, delivery), name=f"job-{delivery.tag}")
        self._jobs[thread] = job
        thread.start()

    def _perform(self, job: Job, delivery: Delivery) -> None:
        settlement = Settlement.RETURN
        try:
            settlement = job.perform()
        except TestyardError as error:
            words = type(error).__name__ if job.private else str(error)
            log.error("request goes back to %s: %s", delivery.queue, words)
            self._stopping.wait(_AFTER_BUG)
        except Exception as error:  # the outermost place: a bug must not lose the request, nor end the worker
            told = None if job.private else error
            log.error("a bug; the request goes back to %s: %r", delivery.queue, type(error), exc_info=told)
            self._stopping.wait(_AFTER_BUG)
        finally:
            self._settled.put((delivery, settlement))

    def _settle(self, channel: BlockingChannel, intake: Intake) -> None:
        while not self._settled.empty():
            delivery, settlement = self._settled.get()
            self._outstanding -= 1
            if delivery.generation != self._generation:
                intake.freed()
                continue  # that connection is gone, and the delivery with it
            if settlement is Settlement.ACK:
                intake.settle(partial(channel.basic_ack, delivery.tag))
            else:
                intake.settle(partial(channel.basic_nack, delivery.tag, requeue=True))
                self._tools.metrics.returned(delivery.queue)
        self._jobs = {thread: job for thread, job in self._jobs.items() if thread.is_alive()}

    def _give_back(self, channel: BlockingChannel, intake: Intake) -> None:
        intake.stop()
        for job in self._jobs.values():
            job.cancel()
        deadline = time.monotonic() + 15
        for thread in list(self._jobs):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._settle(channel, intake)

    def _beat(self) -> None:
        """Show others that the loop goes round (`testyard local status` looks at the file's age)."""
        with suppress(OSError):
            if time.monotonic() - self._beaten > _BEAT:
                self._beaten = time.monotonic()
                self._alive.touch()
                notify("WATCHDOG=1", f"STATUS={self._words()}")

    def _words(self) -> str:
        running = sum(thread.is_alive() for thread in self._jobs)
        return f"{running} of {self._tools.settings.worker.slots} slots in use"

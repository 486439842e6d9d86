# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker's loop: takes deliveries from the broker, hands each to a job, settles it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import pika
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from testyard.adapters.amqp import connect, declare_topology
from testyard.errors import BrokerError, SettingsError, TestyardError
from testyard.queue import QueueName
from worker.delivery import Delivery
from worker.hosts import Seat
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


class _Line:
    """One channel: the queues that compete for the same hosts. ``number`` is never used again."""

    def __init__(
        self,
        connection: pika.BlockingConnection,
        number: int,
        queues: Iterable[QueueName],
        tools: Tools,
        on_message: Callable[[_Line, QueueName, Basic.Deliver, BasicProperties, bytes], None],
    ) -> None:
        self.number = number
        self.channel = connection.channel()
        self.queues = tuple(queues)
        turns = Turns(self.queues, tools.settings.worker.shares)
        self.intake = Intake(self.channel, self.queues, turns, tools.pool.room, partial(on_message, self))


class WorkerLoop:
    """``drain`` lets running jobs end and takes no more; ``stop`` gives them back.

    ``reload`` takes new tools, for what comes from now on.
    """

    def __init__(self, tools: Tools, alive: Path) -> None:
        self._tools = tools
        self._alive = alive
        self._jobs: dict[threading.Thread, Job] = {}
        self._settled: queue.Queue[tuple[Delivery, Seat | None, Settlement]] = queue.Queue()
        self._unseated: list[tuple[Delivery, QueueName]] = []
        self._lines: dict[int, _Line] = {}
        self._numbers = count(1)
        self._beaten = 0.0
        self._new_tools: queue.Queue[Tools] = queue.Queue()
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

    def reload(self, tools: Tools) -> None:
        """Use these for what comes from now on; broker and store stay what they are."""
        self._new_tools.put(tools)

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
            self._lines.clear()
            self._unseated.clear()  # they were the lost connection's
            self._open_lines(connection)
            notify("READY=1")
            while not self._over():
                connection.process_data_events(time_limit=_TICK)
                self._seat_all()
                self._settle()
                self._forget_closed_lines()
                if not self._new_tools.empty():
                    self._tools = self._new_tools.get()
                    self._close_lines()
                    self._open_lines(connection)
                for line in self._lines.values():
                    line.intake.look()
                self._beat()
                if self._draining.is_set() and any(line.intake.listening for line in self._lines.values()):
                    log.info("draining: %s", self._words())
                    self._close_lines()
                    for job in self._jobs.values():
                        job.let_go()
            self._give_back()

    def _open_lines(self, connection: pika.BlockingConnection) -> None:
        queues = self._tools.settings.topology.queues()
        with connection.channel() as channel:
            declare_topology(channel, queues)
        groups = self._tools.pool.groups(queues)
        for group in () if self._draining.is_set() else groups:
            line = _Line(connection, next(self._numbers), group, self._tools, self._on_message)
            self._lines[line.number] = line
            line.intake.start()
        served = {queue for group in groups for queue in group}
        log.info("waiting for requests on %s", ", ".join(str(name) for name in sorted(served)) or "no queue")
        if left := [str(name) for name in queues if name not in served]:
            log.warning("no host of this worker serves %s", ", ".join(left))

    def _close_lines(self) -> None:
        """Take no more; what was taken is still settled there."""
        for line in self._lines.values():
            if line.intake.listening:
                line.intake.stop()

    def _forget_closed_lines(self) -> None:
        for line in tuple(self._lines.values()):
            if not line.intake.listening and not line.intake.held:
                line.channel.close()
                del self._lines[line.number]

    def _on_message(
        self, line: _Line, queue: QueueName, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        delivery = Delivery(
            tag=method.delivery_tag,
            line=line.number,
            queue=str(queue),
            body=body,
            redelivered=bool(method.redelivered),
            message_id=properties.message_id,
            headers=properties.headers,
        )
        self._unseated.append((delivery, queue))
        self._seat_all()

    def _seat_all(self) -> None:
        """Begin what has arrived: at once, unless another attempt or a drain took its slot meanwhile."""
        for delivery, place in tuple(self._unseated):
            seat = self._tools.pool.take(place)
            if seat is not None:
                self._unseated.remove((delivery, place))
                self._begin(delivery, place, seat)
            elif self._draining.is_set() or not self._tools.pool.could(place, lambda _: True):
                self._unseated.remove((delivery, place))
                self._settled.put((delivery, None, Settlement.RETURN))

    def _begin(self, delivery: Delivery, place: QueueName, seat: Seat) -> None:
        job = Job(delivery, seat, self._tools)
        name = f"job-{place}-{delivery.tag}"
        thread = threading.Thread(target=self._perform, args=(job, delivery, seat), name=name)
        self._jobs[thread] = job
        thread.start()

    def _perform(self, job: Job, delivery: Delivery, seat: Seat) -> None:
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
            self._settled.put((delivery, seat, settlement))

    def _settle(self) -> None:
        while not self._settled.empty():
            delivery, seat, settlement = self._settled.get()
            if seat is not None:
                self._tools.pool.release(seat)
            line = self._lines.get(delivery.line)
            if line is None:
                continue  # that connection is gone, and the delivery with it
            if settlement is Settlement.ACK:
                line.intake.settle(partial(line.channel.basic_ack, delivery.tag))
            else:
                line.intake.settle(partial(line.channel.basic_nack, delivery.tag, requeue=True))
                self._tools.metrics.returned(delivery.queue)
        self._jobs = {thread: job for thread, job in self._jobs.items() if thread.is_alive()}

    def _give_back(self) -> None:
        self._close_lines()
        for job in self._jobs.values():
            job.cancel()
        deadline = time.monotonic() + 15
        for thread in list(self._jobs):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._settle()

    def _beat(self) -> None:
        """Show others that the loop goes round (`testyard local status` looks at the file's age)."""
        with suppress(OSError):
            if time.monotonic() - self._beaten > _BEAT:
                self._beaten = time.monotonic()
                self._alive.touch()
                self._tools.publisher.serve()
                notify("WATCHDOG=1", f"STATUS={self._words()}")

    def _words(self) -> str:
        states = self._tools.pool.states()
        drained = [
            f"; host {state.host.name} is drained: {state.drained}" for state in states if state.drained
        ]
        busy, slots = sum(state.busy for state in states), sum(state.host.settings.slots for state in states)
        return f"{busy} of {slots} slots in use{''.join(drained)}"

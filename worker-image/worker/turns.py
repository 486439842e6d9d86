# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose turn it is, when requests wait in more queues than there are free slots.

Start-time fair queueing (Goyal, Vin and Cheng, 1996) in two steps: between contexts by their shares,
then between the queues of a context alike. Who had nothing to run saves up no turns. The
context ``urgent`` goes before all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from testyard.queue import URGENT, QueueName


class Turns:
    """``shares`` are by context; one that is not named has 1. What was is forgotten when nothing waits."""

    def __init__(self, queues: Iterable[QueueName], shares: Mapping[str, int]) -> None:
        self._shares = shares
        self._of_queue = dict.fromkeys(queues, 0.0)
        self._of_context = dict.fromkeys((queue.context for queue in self._of_queue), 0.0)

    def took(self, queue: QueueName) -> None:
        """A request of this queue is being run."""
        self._of_queue[queue] += 1
        self._of_context[queue.context] += 1 / self._shares.get(queue.context, 1)

    def choose(self, waits: Callable[[QueueName], bool]) -> QueueName | None:
        """The queue whose turn it is; None if nothing waits. Asks ``waits`` no oftener than needed."""
        passed: list[QueueName] = []
        for queue in sorted(self._of_queue, key=self._place):
            if waits(queue):
                self._catch_up(passed, queue)
                return queue
            passed.append(queue)
        self._of_queue = dict.fromkeys(self._of_queue, 0.0)
        self._of_context = dict.fromkeys(self._of_context, 0.0)
        return None

    def _place(self, queue: QueueName) -> tuple[bool, float, str, float, QueueName]:
        urgent = queue.context == URGENT
        return not urgent, self._of_context[queue.context], queue.context, self._of_queue[queue], queue

    def _catch_up(self, passed: list[QueueName], chosen: QueueName) -> None:
        for queue in passed:
            if queue.context == chosen.context:
                self._of_queue[queue] = self._of_queue[chosen]
            else:
                self._of_context[queue.context] = self._of_context[chosen.context]

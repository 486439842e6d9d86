# SPDX-License-Identifier: AGPL-3.0-or-later
"""The webhook function: deliveries a second, how long one takes, its start, its memory.

The baseline is confirmed publishing of the same bodies by pika alone, to the same queue of the same broker.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pika
import psutil

from tests import servers
from tests.bench.figures import Figures, spread
from tests.bench.ground import Use
from tests.bench.load import Order, Outcome
from tests.served import Served, projects_file, served, served_webhook
from testyard.adapters.amqp import HOOKS_QUEUE, connection_parameters, declare_topology

#: Deliveries a second that are offered, however long each takes.
OFFERED = 250
STARTS = 10


def measure(folder: Path, runs: int) -> Figures:
    """Figures of ``runs`` deliveries of each kind of load."""
    with servers.rabbit_node(folder / "rabbit") as rabbit:
        with _queue(rabbit.url) as channel:
            declare_topology(channel, ())
        projects = projects_file(folder)
        with served_webhook(folder, rabbit.url, projects) as webhook:
            figures = _under_load(rabbit, webhook, runs)
        return figures | _starts(folder, rabbit.url, projects)


def _under_load(rabbit: servers.Rabbit, webhook: Served, runs: int) -> Figures:
    ours, bare = Order(webhook.url, runs), Order(rabbit.url, runs, queue=HOOKS_QUEUE)
    for order in (ours, bare):
        send(replace(order, count=500))  # warm
    purge(rabbit.url)
    fresh = psutil.Process(webhook.pid).memory_full_info()
    closed, most = _measured("as many as go", rabbit, webhook, ours)
    bare_closed = _lone(rabbit, bare)
    offered, _ = _measured(f"{OFFERED} a second offered", rabbit, webhook, replace(ours, rate=OFFERED))
    bare_offered = _lone(rabbit, replace(bare, rate=OFFERED))
    now = psutil.Process(webhook.pid).memory_full_info()
    bare_rate = runs / bare_closed.seconds
    return {
        **closed,
        "… bare publishing, a second": bare_rate,
        "… ratio of the rates": most / bare_rate,
        **offered,
        **spread("… bare publishing", bare_offered.latencies),
        "memory before and after, resident, MB": fresh.rss / 1e6,
        "… after": now.rss / 1e6,
        "… its own and its share of what others use, MB": now.pss / 1e6,
    }


def _measured(name: str, rabbit: servers.Rabbit, webhook: Served, order: Order) -> tuple[Figures, float]:
    pids = {"function": webhook.pid, "broker": rabbit.pid}
    before = {who: Use.of_tree(pid) for who, pid in pids.items()}
    outcome = send(order)
    used = {who: (Use.of_tree(pid) - before[who]).own for who, pid in pids.items()}
    kept = purge(rabbit.url)
    assert outcome.answers == {"202": order.count}, outcome.answers
    rate = order.count / outcome.seconds
    return {
        f"{name}: answered a second": rate,
        **spread(f"{name}: latency", outcome.latencies),
        f"{name}: lost": order.count - kept,
        f"{name}: function, CPU ms each": used["function"] / order.count * 1000,
        f"{name}: broker, CPU ms each": used["broker"] / order.count * 1000,
        f"{name}: who sends, CPU ms each": outcome.cpu / order.count * 1000,
        **({f"{name}: who sends is late by, p99, ms": outcome.late * 1000} if order.rate else {}),
    }, rate


def _lone(rabbit: servers.Rabbit, order: Order) -> Outcome:
    outcome = send(order)
    assert purge(rabbit.url) == order.count
    return outcome


def _starts(folder: Path, broker: str, projects: Path) -> Figures:
    found: dict[str, list[float]] = {"ours": [], "empty": []}
    for _ in range(STARTS):
        with served_webhook(folder, broker, projects) as ours:
            found["ours"].append(ours.started)
        with served(folder, "tests.bench.empty", {}) as empty:
            found["empty"].append(empty.started)
    return {
        "start → first answer, median of 10, ms": statistics.median(found["ours"]) * 1000,
        "… fastest, ms": min(found["ours"]) * 1000,
        "… an empty app in the same server, ms": statistics.median(found["empty"]) * 1000,
    }


def send(order: Order) -> Outcome:
    """Carry out an order in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(order)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return Outcome(**json.loads(done.stdout))


def purge(broker: str) -> int:
    """How many deliveries were in the queue; there are none now."""
    with _queue(broker) as channel:
        return int(channel.queue_purge(HOOKS_QUEUE).method.message_count)


@contextmanager
def _queue(broker: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    with pika.BlockingConnection(connection_parameters(broker)) as connection:
        yield connection.channel()

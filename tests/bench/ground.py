# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where worker benchmarks run: a broker and a store of their own, eight queues, one worker process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import psutil

from tests import servers
from tests.bench import standin
from testyard.adapters.amqp import connection_parameters, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.queue import QueueName, all_queues
from testyard.request import make_request
from testyard.settings import Store

PACKAGES = Path(__file__).parents[1] / "packages"
CONTAINER = "autopkgtest-sample"
CONTEXTS = ("ubuntu", "huge", "ppa", "upstream")
ARCHITECTURES = ("amd64", "arm64")
QUEUES = all_queues(CONTEXTS, ("sample",), ARCHITECTURES)


@dataclass(frozen=True)
class Use:
    """CPU seconds, user and system, of a process and of its children that have ended."""

    own: float
    children: float

    @classmethod
    def of(cls, pid: int) -> Use:
        times = psutil.Process(pid).cpu_times()
        return cls(times.user + times.system, times.children_user + times.children_system)

    @classmethod
    def of_tree(cls, pid: int) -> Use:
        """All living processes of a tree count as one."""
        root = psutil.Process(pid)
        found = [cls.of(process.pid) for process in (root, *root.children(recursive=True))]
        return cls(sum(use.own for use in found), sum(use.children for use in found))

    def __sub__(self, other: Use) -> Use:
        return Use(self.own - other.own, self.children - other.children)


class Ground:
    """Broker, store, queues, and a recorded test."""

    def __init__(self, rabbit: servers.Rabbit, swift: servers.Swift, folder: Path) -> None:
        self.rabbit = rabbit
        self.swift = swift
        self.folder = folder
        self.recorded = folder / "recorded"
        standin.record(PACKAGES, self.recorded)
        self.settings: dict[str, dict[str, Any]] = {
            "broker": {"url": rabbit.url},
            "store": {"auth_version": "1", "auth_url": swift.auth_url, "user": swift.user, "key": swift.key},
            "topology": {"releases": ["sample"], "architectures": ARCHITECTURES, "contexts": CONTEXTS},
            "worker": {
                "name": "bench",
                "testbed": "null",
                "work_dir": str(folder / "work"),
                "source_dir": str(PACKAGES),
            },
        }
        self.store = SwiftStore(Store.model_validate(self.settings["store"]))
        self._connection = pika.BlockingConnection(connection_parameters(rabbit.url))
        self.channel = self._connection.channel()
        declare_topology(self.channel, QUEUES)
        self._ear = str(self.channel.queue_declare("", exclusive=True).method.queue)
        self.channel.queue_bind(self._ear, "testcomplete.fanout", "#")
        self.completed: list[dict[str, Any]] = []

    def close(self) -> None:
        """Leave the servers."""
        self._connection.close()
        self.store.close()

    @property
    def log(self) -> str:
        """The workers' log."""
        return (self.folder / "worker.log").read_text()

    @contextmanager
    def worker(self, *, real: bool = False, wrapper: Sequence[str] = (), **changes: Any) -> Iterator[int]:
        """A worker's process id; ``real``: with the null testbed, else with the stand-in."""
        config = self.folder / "settings.toml"
        lines = []
        for section, plain in self.settings.items():
            values = {**plain, **(changes if section == "worker" else {})}
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        config.write_text("\n".join(lines))
        config.chmod(0o600)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
        module = ["worker"] if real else ["tests.bench.standin", str(self.recorded)]
        ready = self.folder / "work" / "worker.alive"
        ready.unlink(missing_ok=True)
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", *module],
                env={**clean, "TESTYARD_CONFIG": str(config), "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait(ready.exists, "the worker listens")
            time.sleep(0.5)
            yield process.pid
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, self.log
        finally:
            process.kill()
            process.wait()

    def publish(self, queue: QueueName, package: str = standin.PACKAGE) -> str:
        """Send a request, as the intake does but without a confirm; its id."""
        request_id = str(uuid.uuid4())
        body = make_request(package, {"uuid": request_id}).body()
        properties = pika.BasicProperties(delivery_mode=2, message_id=request_id)
        self.channel.basic_publish("", str(queue), body, properties)
        return request_id

    def listen(self) -> int:
        """Hear what has been completed; how many in all."""
        while (got := self.channel.basic_get(self._ear, auto_ack=True))[0] is not None:
            self.completed.append(json.loads(got[2]))
        return len(self.completed)

    def drain(self, runs: int, *, packages: int, look: Callable[[int], None] = lambda done: None) -> set[str]:
        """Have so many requests run, of all queues in turn; ``look`` hears how many are done. Their ids."""
        before = self.listen()
        sent = {self.publish(QUEUES[n % len(QUEUES)], f"package{n % packages}") for n in range(runs)}
        while (done := self.listen() - before) < runs:
            look(done)
            time.sleep(0.2)
        look(done)
        return sent

    def waiting(self) -> int:
        """Requests in all queues that are not taken."""
        found = (self.channel.queue_declare(str(queue), passive=True) for queue in QUEUES)
        return sum(int(one.method.message_count) for one in found)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Until it is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{self.log[-3000:]}"
            time.sleep(0.02)


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Everything, in ``folder``."""
    with (
        servers.rabbit_node(folder / "rabbit") as rabbit,
        servers.swift_server(folder / "swift") as swift,
    ):
        made = Ground(rabbit, swift, folder)
        try:
            yield made
        finally:
            made.close()

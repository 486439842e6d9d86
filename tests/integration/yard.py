# SPDX-License-Identifier: AGPL-3.0-or-later
"""A queue of its own on a real broker and store, workers for it, and an ear on all that is told."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import AMQPError

from tests import servers
from tests.trees import account
from testyard.adapters.amqp import connection_parameters, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.queue import QueueName
from testyard.request import make_request
from testyard.result import Result, read_result_tar
from testyard.run import RunId
from testyard.settings import Store
from testyard.store import CLAIMS, RunPath
from worker.claim import Claim, ClaimBook, ClaimState, Process, identify

PACKAGES = Path(__file__).parents[1] / "packages"
CONTAINER = "autopkgtest-sample"


class Yard:
    """A queue of its own, a worker for it, and an ear on all that is told."""

    def __init__(
        self, rabbit: servers.Rabbit, swift: servers.Swift, folder: Path, release: str = "sample"
    ) -> None:
        self.architecture = f"a{uuid.uuid4().hex[:8]}"
        self.queue = QueueName("ubuntu", release, self.architecture)
        self.folder = folder
        self.settings = {
            "broker": {"url": rabbit.url},
            "store": {"auth_version": "1", "auth_url": swift.auth_url, "user": swift.user, "key": swift.key},
            "topology": {
                "releases": [release],
                "architectures": [self.architecture],
                "contexts": ["ubuntu"],
            },
            "worker": {
                "name": f"worker-{self.architecture}",
                "testbed": "null",
                "work_dir": str(folder / "work"),
                "source_dir": str(PACKAGES),
                "lease": 3,
            },
        }
        self.hosts: list[dict[str, Any]] = []
        self.store = SwiftStore(Store.model_validate(self.settings["store"]))
        self._connection = pika.BlockingConnection(connection_parameters(rabbit.url))
        self.channel = self._connection.channel()
        declare_topology(self.channel, [self.queue])
        self._ears = {}
        for exchange in ("teststatus.fanout", "testcomplete.fanout", "testyard.events"):
            ear = self.channel.queue_declare("", exclusive=True).method.queue
            self.channel.queue_bind(ear, exchange, "#")
            self._ears[exchange] = ear
        self._heard: dict[str, list[bytes]] = {exchange: [] for exchange in self._ears}
        self._workers: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
        with suppress(AMQPError):  # a test may have killed the broker
            self.channel.queue_delete(str(self.queue))
            self._connection.close()
        self.store.close()

    @property
    def log(self) -> str:
        return "\n".join(log.read_text() for log in self.folder.glob("*.log"))

    def worker(self) -> subprocess.Popen[bytes]:
        """Start one."""
        config = self.write_settings()
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                env={**clean, "TESTYARD_CONFIG": str(config), "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._workers.append(worker)
        return worker

    def write_settings(self) -> Path:
        """The file that parts read."""
        config = self.folder / "settings.toml"
        sections = [*self.settings.items(), *(("[worker.hosts]", host) for host in self.hosts)]
        lines = []
        for section, values in sections:
            lines += [f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        config.touch(mode=0o600)
        config.write_text("\n".join(lines))
        return config

    def use_unshare(self, **more: object) -> Path:
        """Testbeds of the default kind; gives the path of the root tree that they will be made of."""
        trees = self.folder / "trees"
        trees.mkdir()
        self.settings["worker"].update(
            testbed="unshare",
            testbed_user=account().name if account().switch else "",
            tree_dir=str(trees),
            tree_max_age=10**9,
            attempts=1,
            lease=30,
            **more,
        )
        return trees / f"{self.queue.release}-{self.architecture}.tar"

    def publish(self, body: bytes, *, message_id: str | None = None) -> None:
        properties = pika.BasicProperties(message_id=message_id)
        self.channel.basic_publish("", str(self.queue), body, properties)

    def redeliver(self, body: bytes) -> None:
        """Put a body into the queue that bears the broker's mark."""
        self.publish(body)
        self.wait(self._handed_back, "the message is in the queue")

    def _handed_back(self) -> bool:
        method, _, _ = self.channel.basic_get(str(self.queue))
        if method is not None:
            self.channel.basic_nack(method.delivery_tag, requeue=True)
        return method is not None

    def waiting(self) -> int:
        return int(self.channel.queue_declare(str(self.queue), passive=True).method.message_count)

    def heard(self, exchange: str) -> list[bytes]:
        """All that an exchange has told so far."""
        while (got := self.channel.basic_get(self._ears[exchange], auto_ack=True))[0] is not None:
            self._heard[exchange].append(got[2])
        return self._heard[exchange]

    def completions(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.heard("testcomplete.fanout")]

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = [json.loads(body) for body in self.heard("testyard.events")]
        return [event for event in found if event["kind"] == kind]

    def objects(self, container: str = CONTAINER) -> list[str]:
        return list(self.store.names(container, prefix=f"{self.queue.release}/{self.architecture}/"))

    def results(self, container: str = CONTAINER) -> list[Result]:
        names = [name for name in self.objects(container) if name.endswith("/result.tar")]
        return [read_result_tar(self.store.get(container, name) or b"") for name in names]

    def log_of(self, result: Result, container: str = CONTAINER) -> str:
        """A stored run's whole log."""
        names = [name for name in self.objects(container) if name.endswith("/result.tar")]
        (name,) = (n for n in names if read_result_tar(self.store.get(container, n) or b"") == result)
        return self.raw_log(f"{name.removesuffix('result.tar')}log.gz", container).decode(errors="replace")

    def raw_log(self, name: str, container: str = CONTAINER) -> bytes:
        """A stored log, unpacked."""
        return gzip.decompress(self.store.get(container, name) or b"")

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{self.log}"
            time.sleep(0.05)

    def drain(self, worker: subprocess.Popen[bytes]) -> None:
        """Let it settle what it has, and end."""
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, self.log

    def claim(
        self, body: bytes, request_id: str, state: ClaimState, *, process: Process, path: str = ""
    ) -> Claim:
        """Leave a claim as another worker would have."""
        book = ClaimBook(self.store, "worker-2", 60)
        request = make_request(body.split()[0].decode(), {"uuid": request_id})
        digest = hashlib.sha256(body).hexdigest()
        key = identify(book, request, str(self.queue), digest, redelivered=False).key
        claim = book.take(key, request_id)
        left = replace(claim, process=process, state=state, container=CONTAINER if path else "", path=path)
        self.store.put(CLAIMS, key, left.to_bytes())
        return left

    def path(self, package: str = "ty-pass") -> RunPath:
        return RunPath("sample", self.architecture, package, RunId("20260102_030405_abcde@"))


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def body_of(package: str, **parameters: Any) -> bytes:
    return make_request(package, {key.replace("_", "-"): value for key, value in parameters.items()}).body()


def dead_process() -> Process:
    return replace(Process.current(), start="1")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Harm at every change of a request's state: kills and cuts, before and after. Nothing lost, nothing doubled.

A request goes its way through gates (`tests.faults.gates`) that see each step. At one of them the worker, the
broker, the store or the testbed is killed, or the worker is cut off from broker or store. In the end
each request has one result, and the queue is empty.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pika
import psutil
import pytest
from pika.exceptions import AMQPError

from tests.faults.gates import BrokerGate, Gate, StoreGate, Trap, opened
from tests.servers import Rabbit, Swift, rabbit_node, swift_server
from tests.system import PACKAGES
from testyard.adapters.amqp import connection_parameters, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.errors import StoreError
from testyard.queue import QueueName
from testyard.request import make_request, new_request_id
from testyard.result import read_result_tar
from testyard.settings import Store

QUEUE = QueueName("ubuntu", "sample", "amd64")
CONTAINER = "autopkgtest-sample"
#: Every step at which something changes, in the order of a request's life.
STEPS = (
    f"deliver {QUEUE}",
    "GET claim",
    "PUT claim running",
    "PUT claim storing",
    "PUT log.gz",
    "PUT artifacts.tar.gz",
    "PUT result.tar",
    "PUT claim done",
    "publish testcomplete.fanout",
    "ack",
)
#: Seconds for which a network is broken: longer than the worker's first attempts, shorter than its lease.
CUT = 1.2


@dataclass(frozen=True)
class Fault:
    """What happens, and when. ``known``: the request has an id of its own."""

    kind: str
    step: str
    after: bool = False
    known: bool = True

    def __str__(self) -> str:
        body = "" if self.known else ", body without id"
        return f"{self.kind} {'after' if self.after else 'before'} {self.step}{body}"


class Stage:
    """A broker, a store, and one worker that reaches both through gates."""

    def __init__(self, rabbit: Rabbit, swift: Swift, folder: Path) -> None:
        self.rabbit, self.swift, self._folder = rabbit, swift, folder
        self.broker_gate = BrokerGate(rabbit.state.ports["broker"])
        self.store_gate = StoreGate(swift.state.ports["store"])
        self._worker: subprocess.Popen[bytes] | None = None
        self._read: dict[str, str] = {}  # result's name: trigger; a result never changes
        login = {"auth_version": "1", "user": swift.user, "key": swift.key}
        self.store = SwiftStore(Store.model_validate({**login, "auth_url": swift.auth_url}))
        broker = rabbit.url.replace(str(rabbit.state.ports["broker"]), str(self.broker_gate.port))
        sections = {
            "broker": {"url": broker},
            "store": {**login, "auth_url": f"http://127.0.0.1:{self.store_gate.port}/auth/v1.0"},
            "topology": {"releases": ["sample"], "architectures": ["amd64"], "contexts": ["ubuntu"]},
            "worker": {
                "testbed": "null",
                "work_dir": str(folder / "work"),
                "source_dir": str(PACKAGES),
                "lease": 6,
                "deaths": 1000,
                "attempts": 3,
                "retry_pause": 0,
                "slots": 2,
            },
        }
        self._config = folder / "settings.toml"
        self._config.touch(mode=0o600)
        self._config.write_text(
            "\n".join(
                line
                for name, values in sections.items()
                for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()))
            )
        )

    def start_worker(self) -> None:
        """Start it."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
        with (self._folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "worker"],
                env={
                    **clean,
                    "TESTYARD_CONFIG": str(self._config),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end_worker(self, number: int = signal.SIGKILL) -> None:
        """End it, if it runs."""
        if self._worker is not None:
            self._worker.send_signal(number)
            self._worker.wait(60)
            self._worker = None

    def kill_testbed(self) -> bool:
        """SIGKILL autopkgtest; False if it does not run."""
        assert self._worker is not None
        for child in psutil.Process(self._worker.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.cmdline()[1:3] == ["-u", "/usr/bin/autopkgtest"]:
                    child.kill()
                    return True
        return False

    @property
    def log(self) -> str:
        """The worker's."""
        return (self._folder / "worker.log").read_text()[-6000:]

    def publish(self, body: bytes) -> None:
        """Put a body into the queue, confirmed. Raises pika's errors if the sender cannot know."""
        with pika.BlockingConnection(connection_parameters(self.rabbit.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            properties = pika.BasicProperties(delivery_mode=2)
            channel.basic_publish("", str(QUEUE), body, properties, mandatory=True)

    def results(self) -> Counter[str]:
        """How many results each request has, by its trigger."""
        names = [name for name in self.store.names(CONTAINER) if name.endswith("/result.tar")]
        for name in names:
            if name not in self._read:
                result = read_result_tar(self.store.get(CONTAINER, name) or b"")
                assert result.exit_code == 0, f"{name}: a fault became a result: {result.summary}\n{self.log}"
                self._read[name] = result.triggers[0]
        return Counter(self._read[name] for name in names)

    def unfinished(self) -> list[str]:
        """Folders of runs in the store that have files and no result."""
        folders: dict[str, set[str]] = {}
        for name in self.store.names(CONTAINER):
            folder, _, file = name.rpartition("/")
            folders.setdefault(folder, set()).add(file)
        return [folder for folder, files in folders.items() if "result.tar" not in files]

    def waiting(self) -> int:
        """Messages in the queue that nobody holds."""
        with pika.BlockingConnection(connection_parameters(self.rabbit.url)) as connection:
            declared = connection.channel().queue_declare(str(QUEUE), passive=True)
            return int(declared.method.message_count)


@contextmanager
def a_stage(folder: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        rabbit = stack.enter_context(rabbit_node(folder / "rabbit"))
        swift = stack.enter_context(swift_server(folder / "swift"))
        stage = Stage(rabbit, swift, folder)
        stack.enter_context(opened(stage.broker_gate))
        stack.enter_context(opened(stage.store_gate))
        stack.callback(stage.end_worker)
        with pika.BlockingConnection(connection_parameters(rabbit.url)) as connection:
            declare_topology(connection.channel(), [QUEUE])
        time.sleep(2.5)  # a younger queue does not outlive the broker's SIGKILL (docs/delivery.md)
        stage.start_worker()
        yield stage


def few() -> list[Fault]:
    """One of each kind at each step that it can be at."""
    kills = [Fault("worker", step, after) for step in STEPS for after in (False, True)]
    cuts = [Fault(kind, step) for step in STEPS[1:] for kind in ("cut broker", "cut store")]
    rare = [Fault("broker", "PUT log.gz"), Fault("store", "PUT result.tar"), Fault("testbed", "")]
    return [*kills, *cuts, *rare]


def many() -> list[Fault]:
    """All kinds at all steps, before and after, with id and without; more than 200."""
    everywhere = [
        Fault(kind, step, after, known)
        for kind in ("worker", "cut broker", "cut store", "broker", "store")
        for step in STEPS
        for after in (False, True)
        for known in (True, False)
        if known or not kind.startswith("broker")  # docs/delivery.md: "A body without an id after a crash"
    ]
    return [*everywhere, *few(), *[Fault("testbed", "")] * 10]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(few(), id="few", marks=pytest.mark.timeout(900)),
        pytest.param(many(), id="many", marks=[pytest.mark.long, pytest.mark.timeout(5400)]),
    ],
)
def test_a_fault_at_every_change_of_state(tmp_path: Path, faults: list[Fault]) -> None:
    with a_stage(tmp_path) as stage:
        for number, fault in enumerate(faults):
            inject(stage, number, fault)
        stage.end_worker(signal.SIGTERM)
        found = stage.results()
        lost = [str(fault) for number, fault in enumerate(faults) if not found[f"fault/{number}"]]
        doubled = [str(fault) for number, fault in enumerate(faults) if found[f"fault/{number}"] > 1]
        print(f"{len(faults)} faults: {len(found)} results, {len(lost)} lost, {len(doubled)} doubled")
        assert (lost, doubled) == ([], [])
        assert stage.unfinished() == []
        assert stage.waiting() == 0


def inject(stage: Stage, number: int, fault: Fault) -> None:
    """Send a request, do the harm, and see its result come."""
    body = body_of("ty-slow" if fault.kind == "testbed" else "ty-pass", number, known=fault.known)
    if fault.kind == "testbed":
        stage.publish(body)
        wait(stage, stage.kill_testbed, f"{fault}: the test runs")
    else:
        gate: Gate = stage.store_gate if fault.step[:3] in ("GET", "PUT") else stage.broker_gate
        trap = gate.trap = Trap(fault.step, harm(stage, fault), fault.after)
        told = True
        try:
            stage.publish(body)
        except (AMQPError, OSError):  # the broker was killed before it confirmed
            told = False
        wait(stage, trap.sprung.is_set, f"{fault}: the step is met; seen: {gate.steps[-12:]}")
        gate.trap = None
        mend(stage, fault)
        if not told:
            stage.publish(body)  # the sender does not know: it sends the same again
    wait(stage, lambda: stored(stage, number), f"{fault}: a result")


def body_of(package: str, number: int, *, known: bool) -> bytes:
    """A request; ``number`` tells it from all others."""
    parameters = {"triggers": [f"fault/{number}"], "env": ["TY_SECONDS=2"]}
    return make_request(package, {**parameters, **({"uuid": new_request_id()} if known else {})}).body()


def harm(stage: Stage, fault: Fault) -> Callable[[], None]:
    """What is done when the step comes by."""
    return {
        "worker": stage.end_worker,
        "broker": stage.rabbit.kill,
        "store": stage.swift.kill,
        "cut broker": lambda: stage.broker_gate.cut(CUT),
        "cut store": lambda: stage.store_gate.cut(CUT),
    }[fault.kind]


def mend(stage: Stage, fault: Fault) -> None:
    """Start again what was killed; a cut heals by itself."""
    if fault.kind == "worker":
        stage.end_worker()
        stage.start_worker()
    elif fault.kind == "broker":
        stage.rabbit.kill()
        stage.rabbit.start()
    elif fault.kind == "store":
        stage.swift.kill()
        stage.swift.start()


def stored(stage: Stage, number: int) -> bool:
    try:
        return stage.results()[f"fault/{number}"] > 0
    except StoreError:
        return False


def wait(stage: Stage, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"{what}\n{stage.log}"
        time.sleep(0.05)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real worker process on a real broker and store: how it ends, whose a request is, what others hear."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pika
import psutil
import pytest

from tests import servers
from testyard.adapters.amqp import connection_parameters, declare_topology
from testyard.adapters.swift import SwiftStore
from testyard.queue import QueueName
from testyard.request import make_request
from testyard.result import Result, read_result_tar, write_result_tar
from testyard.run import RunId
from testyard.settings import Store
from testyard.store import CLAIMS, RunPath
from worker.claim import Claim, ClaimBook, ClaimState, Process, identify

PACKAGES = Path(__file__).parents[1] / "packages"
CONTAINER = "autopkgtest-sample"


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Rabbit]:
    with servers.rabbit_node(tmp_path_factory.mktemp("rabbit") / "state") as node:
        yield node


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Swift]:
    with servers.swift_server(tmp_path_factory.mktemp("swift") / "state") as server:
        yield server


class Yard:
    """A queue of its own, a worker for it, and an ear on all that is told."""

    def __init__(self, rabbit: servers.Rabbit, swift: servers.Swift, folder: Path) -> None:
        self.architecture = f"a{uuid.uuid4().hex[:8]}"
        self.queue = QueueName("ubuntu", "sample", self.architecture)
        self.folder = folder
        self.settings = {
            "broker": {"url": rabbit.url},
            "store": {"auth_version": "1", "auth_url": swift.auth_url, "user": swift.user, "key": swift.key},
            "topology": {
                "releases": ["sample"],
                "architectures": [self.architecture],
                "contexts": ["ubuntu"],
            },
            "worker": {
                "name": "worker-1",
                "testbed": "null",
                "work_dir": str(folder / "work"),
                "source_dir": str(PACKAGES),
                "lease": 3,
            },
        }
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
        self.channel.queue_delete(str(self.queue))
        self._connection.close()
        self.store.close()

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def worker(self) -> subprocess.Popen[bytes]:
        """Start one."""
        config = self.folder / "settings.toml"
        lines = []
        for section, values in self.settings.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        config.write_text("\n".join(lines))
        config.chmod(0o600)
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

    def publish(self, body: bytes) -> None:
        self.channel.basic_publish("", str(self.queue), body)

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
        return list(self.store.names(container, prefix=f"sample/{self.architecture}/"))

    def results(self, container: str = CONTAINER) -> list[Result]:
        names = [name for name in self.objects(container) if name.endswith("/result.tar")]
        return [read_result_tar(self.store.get(container, name) or b"") for name in names]

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
        key = identify(book, request, str(self.queue), body, redelivered=False).key
        claim = book.take(key, request_id)
        left = replace(claim, process=process, state=state, container=CONTAINER if path else "", path=path)
        self.store.put(CLAIMS, key, left.to_bytes())
        return left

    def path(self, package: str = "ty-pass") -> RunPath:
        return RunPath("sample", self.architecture, package, RunId("20260102_030405_abcde@"))


@pytest.fixture
def yard(rabbit: servers.Rabbit, swift: servers.Swift, tmp_path: Path) -> Iterator[Yard]:
    made = Yard(rabbit, swift, tmp_path)
    try:
        yield made
    finally:
        made.close()


def body_of(package: str, **parameters: Any) -> bytes:
    return make_request(package, {key.replace("_", "-"): value for key, value in parameters.items()}).body()


def dead_process() -> Process:
    return replace(Process.current(), start="1")


def test_terminated_worker_finishes_what_runs_and_takes_no_more(yard: Yard) -> None:
    worker = yard.worker()
    yard.publish(body_of("ty-slow", env=["TY_SECONDS=3"], uuid=str(uuid.uuid4())))
    yard.wait(lambda: any(event["data"]["phase"] == "test" for event in yard.events("phase")), "it runs")
    yard.publish(body_of("ty-pass"))
    assert yard.results() == []
    yard.drain(worker)
    assert [result.exit_code for result in yard.results()] == [0]
    assert [message["package"] for message in yard.completions()] == ["ty-slow"]
    assert yard.waiting() == 1  # the second one


def test_interrupted_worker_gives_back_what_runs(yard: Yard) -> None:
    mark = f"TY_MARK={uuid.uuid4()}"

    def marked() -> list[int]:
        return [
            process.pid
            for process in psutil.process_iter()
            if mark in " ".join(_command_line(process)) and process.pid != os.getpid()
        ]

    worker = yard.worker()
    body = body_of("ty-slow", env=["TY_SECONDS=60", mark], uuid=str(uuid.uuid4()))
    yard.publish(body)
    yard.wait(lambda: any("second 2" in str(event["data"]) for event in yard.events("log")), "the test runs")
    assert marked()
    worker.send_signal(signal.SIGINT)
    assert worker.wait(20) == 0, yard.log
    assert marked() == []
    method, _, given_back = yard.channel.basic_get(str(yard.queue), auto_ack=True)
    assert method is not None
    assert (given_back, method.redelivered) == (body, True)
    assert yard.objects() == []
    yard.wait(lambda: len(yard.events("returned")) == 1, "it is told")
    assert list((yard.folder / "work" / "runs").iterdir()) == []
    assert yard.completions() == []


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.parametrize(
    ("state", "alive"), [(ClaimState.DONE, True), (ClaimState.DONE, False), (ClaimState.STORING, False)]
)
def test_stored_request_that_comes_again_is_told_again_and_not_run(
    yard: Yard, state: ClaimState, alive: bool
) -> None:
    request_id, path = str(uuid.uuid4()), yard.path()
    stored = Result(4, "ty-pass", "9.9", 3, request_id=request_id)
    yard.store.ensure_container(CONTAINER)
    yard.store.put(CONTAINER, path.file("result.tar"), write_result_tar(stored))
    body = body_of("ty-pass", uuid=request_id)
    process = Process.current() if alive else dead_process()
    yard.claim(body, request_id, state, process=process, path=str(path))
    yard.redeliver(body)
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    message = yard.completions()[0]
    assert (message["swift_dir"], message["exitcode"], message["uuid"]) == (str(path), 4, request_id)
    assert yard.results() == [stored]
    assert yard.waiting() == 0
    assert yard.events("taken") == []


def test_half_stored_request_is_cleaned_away_and_run_once(yard: Yard) -> None:
    request_id, path = str(uuid.uuid4()), yard.path()
    yard.store.ensure_container(CONTAINER)
    for name in ("log.gz", "artifacts.tar.gz"):
        yard.store.put(CONTAINER, path.file(name), b"half")
    body = body_of("ty-pass", uuid=request_id)
    yard.claim(body, request_id, ClaimState.STORING, process=dead_process(), path=str(path))
    yard.redeliver(body)
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    assert [(one.exit_code, one.request_id) for one in yard.results()] == [(0, request_id)]
    assert [name for name in yard.objects() if name.startswith(str(path))] == []
    assert len(yard.events("taken")) == 1
    assert yard.waiting() == 0


def test_request_of_a_living_worker_waits_for_the_end_of_its_lease(yard: Yard) -> None:
    request_id = str(uuid.uuid4())
    body = body_of("ty-pass", uuid=request_id)
    worker = yard.worker()
    yard.wait(lambda: "waiting for requests" in yard.log, "the worker is there")
    claim = yard.claim(body, request_id, ClaimState.RUNNING, process=Process.current())
    yard.publish(body)
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    taken = yard.events("taken")
    assert len(taken) == 1
    assert 3 <= taken[0]["time"] - claim.renewed < 8
    assert [one.request_id for one in yard.results()] == [request_id]


def test_equal_bodies_without_id_are_two_requests_also_at_the_same_time(yard: Yard) -> None:
    yard.settings["worker"]["slots"] = 2
    body = body_of("ty-slow", env=["TY_SECONDS=2"], triggers=["gzip/1"])
    yard.publish(body)
    yard.publish(body)
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 2, "two completions")
    yard.drain(worker)
    results = yard.results()
    assert [one.exit_code for one in results] == [0, 0]
    assert len({one.request_id for one in results}) == 2
    taken = [event["time"] for event in yard.events("taken")]
    assert max(taken) - min(taken) < 2  # they ran side by side
    assert yard.waiting() == 0


def test_second_worker_in_the_same_folder_is_refused(yard: Yard) -> None:
    first = yard.worker()
    yard.wait(lambda: "waiting for requests" in yard.log, "the first one is there")
    second = yard.worker()
    assert second.wait(20) == 2
    assert f"worker.work_dir: another worker uses {yard.folder / 'work'}" in yard.log
    assert "Give each worker process a folder of its own." in yard.log
    assert "Traceback" not in yard.log
    assert first.poll() is None
    yard.drain(first)


def test_messages_have_the_contracts_keys(yard: Yard) -> None:
    request_id = str(uuid.uuid4())
    parameters = {
        "triggers": ["gzip/1.12-1", "zlib/1"],
        "requester": "someone",
        "all-proposed": "1",
        "testname": "artifact",
        "uuid": request_id,
        "extra": {"kept": [1]},
    }
    yard.publish(make_request("ty-pass", parameters).body())
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    (message,) = yard.completions()
    duration, swift_dir = message.pop("duration"), message.pop("swift_dir")
    assert message == {
        "release": "sample",
        "architecture": yard.architecture,
        "package": "ty-pass",
        "container": CONTAINER,
        "exitcode": 0,
        "testpkg_version": "1.0",
        "requester": "someone",
        "triggers": "gzip/1.12-1 zlib/1",
        "env": "all-proposed=1,testname=artifact",
        "uuid": request_id,
    }
    assert duration.endswith("\n")
    assert int(duration) >= 0
    assert len(swift_dir.split("/")) == 5
    assert yard.store.get(CONTAINER, f"{swift_dir}/result.tar")
    statuses = [json.loads(body) for body in yard.heard("teststatus.fanout")]
    assert [one["running"] for one in statuses] == [False]  # a short run's only one
    status = statuses[0]
    assert set(status) == {
        "release", "architecture", "package", "running", "params", "duration", "logtail", "uuid",
    }  # fmt: skip
    assert (status["release"], status["architecture"]) == ("sample", yard.architecture)
    assert (status["package"], status["params"]) == ("ty-pass", parameters)
    assert type(status["duration"]) is int
    head, _, tail = status["logtail"].partition("HEAD --- TAIL")
    assert head.startswith("testyard [")
    assert len(head.splitlines()) == 6  # five lines of the log, and the separator's beginning
    assert "summary" in tail
    kinds = [json.loads(body)["kind"] for body in yard.heard("testyard.events")]
    assert (kinds[0], kinds[-1]) == ("taken", "stored")


def test_private_request_tells_nobody_and_is_for_its_readers(yard: Yard, swift: servers.Swift) -> None:
    container = "private-autopkgtest-sample"
    body = body_of(
        "ty-pass",
        swiftuser="reader",
        readable_by=["alice", "team"],
        triggers=["secret-source/6.6.6"],
        requester="asker",
        uuid=str(uuid.uuid4()),
    )
    yard.publish(body)
    worker = yard.worker()
    yard.wait(lambda: len(yard.events("stored")) == 1, "it is stored")
    yard.drain(worker)
    (result,) = yard.results(container)
    assert (result.exit_code, result.triggers) == (0, ("secret-source/6.6.6",))
    folder = str(RunPath.parse(yard.objects(container)[0].rpartition("/")[0]))
    assert yard.store.get(container, f"{folder}/readable-by") == b"alice\nteam\n"
    assert yard.objects() == []
    assert yard.completions() == []
    told = yard.heard("testyard.events") + yard.heard("teststatus.fanout")
    assert yard.heard("teststatus.fanout")
    words = (b"ty-pass", b"secret-source", b"6.6.6", b"asker", b"alice", b"team", b"artifact", b"reader")
    for message in told:
        assert [word for word in (*words, b"autopkgtest") if word in message] == [], message
    headers = _headers(swift, container)
    assert headers["x-container-read"] == "*:reader"
    assert httpx.get(f"{swift.public_url}/{container}", trust_env=False).status_code == 401
    claims = httpx.get(f"{swift.public_url}/{CLAIMS}", trust_env=False)
    assert claims.status_code == 401


def _headers(swift: servers.Swift, container: str) -> Mapping[str, str]:
    login = httpx.get(
        swift.auth_url, headers={"X-Auth-User": swift.user, "X-Auth-Key": swift.key}, trust_env=False
    )
    token = {"X-Auth-Token": login.headers["X-Auth-Token"]}
    return httpx.head(f"{swift.public_url}/{container}", headers=token, trust_env=False).headers


def test_hostile_output_is_a_result_like_any_other(yard: Yard) -> None:
    """A name that is no text, once noted in the log, sent a request round for ever."""
    made = yard.folder / "packages" / "ty-hostile"
    (made / "debian" / "tests").mkdir(parents=True)
    for name in ("control", "changelog", "rules"):
        text = (PACKAGES / "ty-pass" / "debian" / name).read_text().replace("ty-pass", "ty-hostile")
        (made / "debian" / name).write_text(text)
    (made / "debian" / "rules").chmod(0o755)
    script = (
        'cd "$AUTOPKGTEST_ARTIFACTS" && mkfifo "$(printf "pipe\\377")" && mkdir deep && ln -s / deep/root'
    )
    (made / "debian" / "tests" / "control").write_text(
        f"Test-Command: {script}\nFeatures: test-name=hostile\nDepends:\n"
    )
    yard.settings["worker"]["source_dir"] = str(yard.folder / "packages")
    yard.publish(body_of("ty-hostile"))
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "completion")
    yard.drain(worker)
    assert [one.exit_code for one in yard.results()] == [0], yard.log
    (name,) = [name for name in yard.objects() if name.endswith("artifacts.tar.gz")]
    data = yard.store.get(CONTAINER, name) or b""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = {info.name: info for info in tar}
    (link,) = [info for entry, info in entries.items() if entry.endswith("deep/root")]
    assert (link.issym(), link.linkname) == (True, "/")
    assert not [entry for entry in entries if "deep/root/" in entry or "pipe" in entry]
    (name,) = [name for name in yard.objects() if name.endswith("log.gz")]
    log = gzip.decompress(yard.store.get(CONTAINER, name) or b"")
    assert b"not among the artifacts: artifacts/pipe\\udcff: neither" in log

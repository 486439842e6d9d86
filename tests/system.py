# SPDX-License-Identifier: AGPL-3.0-or-later
"""A whole local instance for tests: every part real, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from testyard.adapters.amqp import Publisher
from testyard.local import supervisor
from testyard.local.machine import machine_release
from testyard.local.state import LocalState
from testyard.local.toml import render_toml
from testyard.queue import QueueName
from testyard.request import make_request, new_request_id

PACKAGES = Path(__file__).parent / "packages"
#: Root trees are kept between tests and test runs of a day: making one takes 17 to 40 s.
TREES = Path(os.environ.get("TESTYARD_TEST_TREES", "/var/cache/testyard-tests/trees"))


class System:
    """The instance's state, and what tests do with it."""

    def __init__(self, state: LocalState) -> None:
        self.state = state

    def cli(self, *arguments: str, codes: tuple[int, ...] = (0,), timeout: float = 120) -> str:
        """Run the command line as a person would; returns what it prints on stdout."""
        command = [sys.executable, "-m", "testyard", *arguments]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")},
            "TESTYARD_STATE": str(self.state.path),
        }
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            now = self.get("/running.json").text
            raise AssertionError(f"{arguments}: no end\n{error.stderr}\n{now}\n{self.tails()}") from error
        assert done.returncode in codes, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "\nTraceback" not in f"\n{done.stderr}", done.stderr  # a followed log is indented
        return done.stdout

    def request(self, package: str, *options: str) -> str:
        """Ask for a test; returns the request's id."""
        answer = json.loads(self.cli("request", package, "--json", "--force", *options))
        return str(answer["requests"][0]["request_id"])

    def publish(self, package: str, *env: str) -> str:
        """Put a request into its queue, without the command line's own start; returns its id."""
        request_id = new_request_id()
        request = make_request(package, {"triggers": [], "env": list(env), "uuid": request_id})
        queue = QueueName("ubuntu", self.state.release, self.state.arch)
        with Publisher(self.state.broker_url) as publisher:
            publisher.publish_request(queue, request.body(), request_id)
        return request_id

    def run_of(self, package: str, *options: str) -> dict[str, Any]:
        """Ask for a test and wait until its result is on the site; returns the run's JSON."""
        found = json.loads(
            self.cli("request", package, "--follow", "--json", "--force", *options, codes=(0, 4))
        )
        run: dict[str, Any] = found["run"]
        return run

    def worker_names(self) -> set[str]:
        """Workers that have said something."""
        return {worker["name"] for worker in json.loads(self.cli("worker", "list", "--json"))["workers"]}

    def get(self, path: str) -> httpx.Response:
        """A page of the site."""
        return httpx.get(self.state.url("web") + path, timeout=30, trust_env=False, follow_redirects=True)

    def store(self, path: str, **parameters: str) -> httpx.Response:
        """An anonymous look at the public store, below the account."""
        address = f"{self.state.url('store')}/v1/AUTH_testyard/{path}"
        return httpx.get(address, params=parameters, timeout=30, trust_env=False)

    def stored_results(self) -> list[str]:
        """The names of all results in the public container of the machine's release."""
        answer = self.store(f"autopkgtest-{self.state.release}")
        return [line for line in answer.text.splitlines() if line.endswith("/result.tar")]

    def pid(self, part: str) -> int | None:
        """A part's process, None while it does not run."""
        return next(item.pid for item in supervisor.status(self.state) if item.name == part)

    def kill(self, part: str) -> bool:
        """SIGKILL a part; its keeper starts it again. False if it did not run just then."""
        pid = self.pid(part)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def wait(self, condition: Any, *, seconds: float, what: str) -> None:
        """Wait for something to become true; fail with the parts' state and logs' ends if it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.tails()}")
            time.sleep(0.2)

    def tails(self) -> str:
        """The end of every part's log."""
        logs = sorted(self.state.log_dir.glob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-2500:]}" for log in logs)


@contextmanager
def running_system(
    folder: Path,
    worker: Mapping[str, Any],
    *,
    releases: tuple[str, ...] = (machine_release(),),
    **sections: Mapping[str, Any],
) -> Iterator[System]:
    """An instance with these settings of the worker and other sections, running; gone afterwards."""
    settings = {"source_dir": str(PACKAGES), "tree_dir": str(TREES), "attempts": 1, **worker}
    settings = {"worker": settings, "topology": {"releases": releases}, **sections}
    state = LocalState.load_or_create(folder, settings=settings)
    try:
        supervisor.up(state)
        yield System(state)
    finally:
        supervisor.down(state)


@contextmanager
def joined_worker(
    system: System, folder: Path, worker: Mapping[str, Any], *hosts: Mapping[str, Any]
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of its own that joins the system from ``folder``, with its log there; ended afterwards."""
    given = tomllib.loads(system.state.settings_file.read_text())
    settings = {"work_dir": str(folder / "work"), "source_dir": str(PACKAGES), **worker}
    sections = {**{key: given[key] for key in ("broker", "store", "topology")}, "worker": settings}
    config = folder / "worker.toml"
    config.touch(mode=0o600)
    config.write_text(
        "\n".join([render_toml(sections), *(render_toml({"[worker.hosts]": h}) for h in hosts)])
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    with (folder / "worker.log").open("wb") as log:
        joined = subprocess.Popen(
            [sys.executable, "-m", "testyard", "worker", "run", "--config", str(config)],
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield joined
    finally:
        joined.kill()
        joined.wait()


def body_without_id(package: str, number: int) -> bytes:
    """A body as migration software sends it."""
    return make_request(package, {"triggers": [f"{package}/{number}"]}).body()


__all__ = [
    "PACKAGES",
    "TREES",
    "System",
    "body_without_id",
    "joined_worker",
    "new_request_id",
    "running_system",
]

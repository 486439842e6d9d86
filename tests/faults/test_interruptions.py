# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two things at once: a worker that drains loses its broker, a store dies while it takes an upload."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import System, running_system
from testyard.local.health import check_part
from testyard.store import ARTIFACTS, RESULT

MEGABYTES = 64


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("interruptions") / "state"
    with running_system(folder, {"testbed": "null", "slots": 2}) as running:
        yield running


def _request(system: System, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = system.get(f"/requests/{request_id}.json").json()
    return found


def _phase(system: System, request_id: str) -> str:
    phases = _request(system, request_id).get("phases") or [{}]
    return str(phases[-1].get("phase", ""))


def _results(system: System) -> list[str]:
    return [name for name in system.stored_results() if "/ty-slow/" in name]


def _killed_in_mid_upload(system: System) -> tuple[str, set[str]]:
    """Kill the store while it takes a large object; returns the request and the results before it.

    An upload takes 0.3 s: on a busy machine it may be over when this looks, and then it tries again.
    """
    for _ in range(8):
        before = set(_results(system))
        keep = f"TY_KEEP_MB={MEGABYTES}"
        request_id = system.request("ty-slow", "--env", "TY_SECONDS=1", "--env", keep)
        store = system.pid("store")
        deadline = time.monotonic() + 60
        while not _upload_under_way(store) and time.monotonic() < deadline:
            if (system.state.log_dir / "worker.log").read_text().count(f"{request_id}: ty-slow pass"):
                break
            time.sleep(0.005)
        else:
            assert system.kill("store"), system.tails()
            system.wait(
                lambda: not check_part(system.state, "store", started=0), seconds=60, what="the store is back"
            )
            if set(_results(system)) == before:
                return request_id, before
        _wait_until_done(system, request_id)
    raise AssertionError(f"no upload was seen under way\n{system.tails()}")


def _wait_until_done(system: System, request_id: str) -> None:
    system.wait(lambda: _request(system, request_id)["state"] == "done", seconds=60, what="it is done")


def _upload_under_way(store: int | None) -> bool:
    """True while the store has a part of a large object: in a file without a name, by way of O_TMPFILE."""
    for descriptor in Path(f"/proc/{store}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if (
                "/swift/" in str(descriptor.readlink())
                and 1 << 20 < descriptor.stat().st_size < MEGABYTES << 20
            ):
                return True
    return False


def _nothing_left(system: System) -> bool:
    now = system.get("/running.json").json()
    return not now["requests"] and not any(queue["messages"] for queue in now["queues"])


def test_a_worker_drains_while_the_broker_restarts(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=10")
    system.wait(lambda: _phase(system, request_id) == "test", seconds=30, what="the test runs")
    worker = system.pid("worker")
    assert worker is not None
    os.kill(worker, signal.SIGTERM)
    assert system.kill("broker")
    # the keeper starts another worker when this one has ended: what it drained must not run again
    system.wait(lambda: system.pid("worker") not in (None, worker), seconds=60, what="the worker has drained")
    system.wait(lambda: _nothing_left(system), seconds=60, what="nothing waits or runs")
    assert len(_results(system)) == 1
    assert _request(system, request_id)["state"] == "done"
    # once a second, not as fast as it can
    assert (system.state.log_dir / "worker.log").read_text().count("trying again") < 30


def test_who_cannot_wait_for_a_draining_worker_tells_it_again(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=12")
    system.wait(lambda: _phase(system, request_id) == "test", seconds=30, what="the test runs")
    worker = system.pid("worker")
    assert worker is not None
    log = system.state.log_dir / "worker.log"
    heard = log.read_text().count("draining: 1 of 2")
    os.kill(worker, signal.SIGTERM)
    system.wait(
        lambda: log.read_text().count("draining: 1 of 2") > heard,
        seconds=10,
        what="the first signal is heard",
    )
    assert system.pid("worker") == worker
    os.kill(worker, signal.SIGTERM)
    system.wait(lambda: system.pid("worker") != worker, seconds=8, what="it gives the request back")
    system.wait(lambda: _request(system, request_id)["state"] == "done", seconds=60, what="it ran again")


def test_cancelled_requests_end_wherever_they_are(system: System) -> None:
    before = len(_results(system))
    # those to be cancelled would last: on a busy machine 30 s had gone by before the command line spoke
    first, second = (system.publish("ty-slow", f"TY_SECONDS={seconds}") for seconds in (600, 45))
    waiting = system.request("ty-slow", "--env", "TY_SECONDS=600")
    system.wait(lambda: _phase(system, second) == "test", seconds=60, what="two tests run")
    said = [system.cli("cancel", one, "--reason", "not needed") for one in (waiting, first)]
    assert "is cancelled" in said[0]
    assert "it ends within 3 s" in said[1]
    for one in (waiting, first):
        system.wait(lambda: _request(system, one)["state"] == "cancelled", seconds=15, what="it ends")  # noqa: B023
        assert _request(system, one)["reason"] == "not needed"
    assert "It was cancelled: not needed" in system.get(f"/requests/{first}").text
    assert "cancelled: not needed" in system.cli("show", waiting)
    system.cli("cancel", first, codes=(2,))
    system.wait(lambda: _nothing_left(system), seconds=90, what="nothing waits or runs")
    assert _request(system, second)["state"] == "done"
    assert len(_results(system)) == before + 1


def test_the_store_dies_while_it_takes_an_upload(system: System) -> None:
    request_id, before = _killed_in_mid_upload(system)
    system.wait(lambda: len(_results(system)) > len(before), seconds=90, what="the result is stored")
    (name,) = set(_results(system)) - before
    container = f"autopkgtest-{system.state.release}"
    artifacts = system.store(f"{container}/{name.replace(RESULT, ARTIFACTS)}")
    with tarfile.open(fileobj=io.BytesIO(artifacts.content), mode="r:gz") as tar:
        assert tar.getmember("artifacts/kept.bin").size == MEGABYTES << 20
    system.wait(lambda: _request(system, request_id)["state"] == "done", seconds=60, what="it is done")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker's figures, as Prometheus would fetch them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from testyard.errors import SettingsError
from testyard.hosts import NullHost
from testyard.queue import QueueName
from testyard.result import Result
from testyard.run import Phase, PhaseTime
from worker.hosts import Host, HostPool
from worker.metrics import Metrics
from worker.testbed.null import NullTestbed

PLACE = QueueName("ppa", "noble", "amd64")
LABELS = 'architecture="amd64",context="ppa"'


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def _pool(slots: int) -> HostPool:
    host = Host(NullHost(name="one", slots=slots), NullTestbed(None))
    return HostPool([host], failures=5)


def _fetched(metrics: Metrics) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with metrics.served("127.0.0.1", port):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert answer.status_code == 200
    return answer.text


def test_a_stored_run_counts_with_its_phases() -> None:
    metrics = Metrics(_pool(3))
    phases = (PhaseTime(Phase.BUILD, 100.0, 7.5), PhaseTime(Phase.TEST, 110.0, 0.25, "<any> name"))
    metrics.stored(PLACE, Result(4, "gzip", phases=phases))
    text = _fetched(metrics)
    assert f'testyard_runs_total{{{LABELS},outcome="fail",release="noble"}} 1.0' in text
    assert f'testyard_phase_seconds_sum{{{LABELS},phase="build",release="noble"}} 7.5' in text
    assert f'testyard_phase_seconds_bucket{{{LABELS},le="0.5",phase="test",release="noble"}} 1.0' in text
    assert "<any> name" not in text
    assert "process_resident_memory_bytes" in text


def test_slots_and_what_was_not_run() -> None:
    pool = _pool(3)
    metrics = Metrics(pool)
    metrics.parked("debci-noble-amd64")
    metrics.returned("debci-noble-amd64")
    seat = pool.take(PLACE)
    assert seat
    pool.drain({"one": "a new kernel"})
    text = _fetched(metrics)
    assert 'testyard_slots{host="one"} 3.0' in text
    assert 'testyard_slots_busy{host="one"} 1.0' in text
    assert 'testyard_host_drained{host="one"} 1.0' in text
    assert 'testyard_parked_total{queue="debci-noble-amd64"} 1.0' in text
    assert 'testyard_returned_total{queue="debci-noble-amd64"} 1.0' in text
    pool.release(seat)
    pool.drain({})
    text = _fetched(metrics)
    assert 'testyard_slots_busy{host="one"} 0.0' in text
    assert 'testyard_host_drained{host="one"} 0.0' in text


def test_a_taken_port_names_the_setting(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    with (
        pytest.raises(SettingsError, match=r"worker\.metrics_port: 127\.0\.0\.1:\d+ cannot") as caught,
        Metrics(_pool(1)).served(host, port),
    ):
        pytest.fail("served")
    assert "free port" in caught.value.resolution

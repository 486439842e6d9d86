# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs that the worker runs: what is told when they fail, and that none outlives its purpose."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from testyard.errors import CancelledRun, TestbedError
from worker import process
from worker.testbed.base import PlainProcess, output_pipe
from worker.testbed.network import Network, own_addresses


def test_output_of_both_streams() -> None:
    assert process.run(["sh", "-c", "echo out; echo err >&2"]) == "out\nerr\n"


def test_failure_tells_command_and_end_of_output() -> None:
    with pytest.raises(TestbedError, match="sh: exit status 3") as caught:
        process.run(["sh", "-c", "seq 100; exit 3"])
    assert caught.value.details.startswith("$ sh -c 'seq 100; exit 3'\n86\n")


def test_program_that_is_not_there() -> None:
    with pytest.raises(TestbedError, match="no-such-program: no such program"):
        process.run(["no-such-program"])


def test_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match="sh: not done in time, killed"):
        process.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], timeout=0.5)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.timeout(20)
def test_cancelled_program_is_killed_with_what_it_started(tmp_path: Path) -> None:
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    begun = time.monotonic()
    with pytest.raises(CancelledRun):
        # what it started holds the pipe open: its end is waited for too
        process.run(
            [*command, "sh", "-c", "sleep 60 & sleep 60 & wait"], cwd=tmp_path, cancelled=cancelled.is_set
        )
    assert time.monotonic() - begun < 10


def network(script: str) -> Network:
    return Network(subprocess.Popen(["sh", "-c", script], stderr=subprocess.PIPE))


def finished(status: int, helper: Network) -> PlainProcess:
    reader, writer = output_pipe()
    os.close(writer)
    return PlainProcess(subprocess.Popen(["sh", "-c", f"exit {status}"]), reader, [helper])


def test_network_that_lasts_as_long_as_its_run() -> None:
    assert finished(4, network("exec sleep 60")).wait() == 4


def test_network_that_ends_well_is_no_trouble() -> None:
    well = network("exit 0")
    while well.running:
        time.sleep(0.01)
    assert finished(4, well).wait() == 4


def test_network_that_ended_before_its_run_is_a_testbed_failure_and_says_why() -> None:
    gone = network("echo 'Failed to send 5 bytes to syslog' >&2; echo 'no more sockets' >&2; exit 1")
    while gone.running:
        time.sleep(0.01)
    with pytest.raises(TestbedError) as caught:
        finished(4, gone).wait()
    assert str(caught.value) == "the testbed's network ended before the run did\nno more sockets"


@pytest.mark.timeout(20)
def test_network_that_says_much_is_not_held_up(tmp_path: Path) -> None:
    talking = network(f"yes 'a long complaint' | head -c 1000000 >&2; touch {tmp_path}/done; exec sleep 60")
    while not (tmp_path / "done").exists():
        time.sleep(0.01)
    assert talking.end() == ""
    assert len(talking.said()) <= 4096


def test_own_addresses_are_those_of_the_interfaces() -> None:
    command = ["ip", "-oneline", "address", "show", "up"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    shown = {line.split()[3].partition("/")[0] for line in lines if " lo " not in line.partition("inet")[0]}
    assert set(own_addresses()) == shown

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A part goes away in the middle of things: clear words where a person looks, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from tests.system import System, body_without_id, running_system
from testyard.adapters.amqp import connection_parameters
from testyard.local import keeper, supervisor
from testyard.local.state import LocalState


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("outages") / "state"
    with running_system(folder, {"testbed": "null", "slots": 2}) as running:
        yield running


def _stop(system: System, part: str) -> None:
    keeper.stop_part(system.state, part)
    system.wait(lambda: system.pid(part) is None, seconds=30, what=f"{part} has ended")


def _stage(system: System, request_id: str) -> str:
    request = system.get(f"/requests/{request_id}.json").json()
    phases = request.get("phases") or [{}]
    return str(phases[-1].get("phase", "")) if request.get("state") == "running" else ""


def _only_run(system: System, request_id: str, *, seconds: float = 60) -> dict[str, object]:
    found: list[dict[str, object]] = []

    def stored() -> bool:
        answer = system.get(f"/runs/{request_id}.json")
        found[:] = answer.json()["runs"] if answer.status_code == 200 else []
        return bool(found)

    system.wait(stored, seconds=seconds, what=f"the result of {request_id}")
    assert len(found) == 1
    return found[0]


def test_broker_restarted_in_mid_test(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=12")
    system.wait(lambda: _stage(system, request_id) == "test", seconds=30, what="the test runs")
    assert system.kill("broker")
    run = _only_run(system, request_id)
    assert run["outcome"] == "pass"
    # it went on while the broker was away, and the copy that came back was not run again
    time.sleep(3)
    mine = [name for name in system.stored_results() if "/ty-slow/" in name]
    assert len(mine) == 1
    assert _queue_is_empty(system)


def _queue_is_empty(system: System) -> bool:
    return not any(queue["messages"] for queue in system.get("/running.json").json()["queues"])


def test_store_down_during_upload(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=3")
    system.wait(lambda: _stage(system, request_id) == "test", seconds=30, what="the test runs")
    _stop(system, "store")
    try:
        time.sleep(6)
        assert system.get("/running.json").json()["requests"][0]["request_id"] == request_id
        assert system.get("/").status_code == 200
    finally:
        keeper.start_part(system.state, "store")
    assert _only_run(system, request_id)["outcome"] == "pass"


def test_stopped_worker_gives_its_request_back(system: System) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=4")
    system.wait(lambda: _stage(system, request_id) == "test", seconds=30, what="the test runs")
    _stop(system, "worker")
    waiting = system.get(f"/requests/{request_id}.json").json()
    keeper.start_part(system.state, "worker")
    assert waiting["state"] in ("queued", "running")
    assert _only_run(system, request_id)["outcome"] == "pass"
    leftovers = subprocess.run(
        ["pgrep", "-f", "seq .*TY_SECONDS"], capture_output=True, text=True, check=False
    )
    assert leftovers.stdout == ""


def test_bodies_that_can_never_work_are_parked_with_their_reason(system: System) -> None:
    bad = {
        b"\xff\xfe gzip": "not UTF-8",
        b"gzip\n{not json": "no JSON object",
        b'gzip\n["a", "list"]': "no JSON object",
        b'gzip\n{"triggers": 5}': "triggers: must be a list of strings, not a number",
        b"../../etc/passwd\n{}": "package: ",
        b"a/b": "package: ",
        b'gzip\n{"env": ["no equals sign"]}': "env: ",
        b"": "package: ",
    }
    queue = f"debci-{system.state.release}-{system.state.arch}"
    _publish(system, queue, *bad)

    def dead() -> list[dict[str, str]]:
        letters: list[dict[str, str]] = json.loads(system.cli("queue", "--dead", "--json"))["dead"]
        return letters

    system.wait(lambda: len(dead()) == len(bad), seconds=30, what="all are parked")
    reasons = {letter["body"].encode(errors="replace"): letter["reason"] for letter in dead()}
    for body, reason in bad.items():
        assert reason in reasons[body.decode(errors="replace").encode()], body
    assert {letter["queue"] for letter in dead()} == {queue}
    assert "not UTF-8" in system.cli("queue", "--dead")
    # and the worker goes on
    assert system.run_of("ty-pass")["outcome"] == "pass"


def test_body_of_migration_software_without_an_id(system: System) -> None:
    before = len(system.stored_results())
    queue = f"debci-{system.state.release}-{system.state.arch}"
    _publish(system, queue, body_without_id("ty-pass", 1), body_without_id("ty-pass", 1))
    # two equal bodies, neither delivered before: two requests
    system.wait(lambda: len(system.stored_results()) == before + 2, seconds=60, what="two results")


def _publish(system: System, queue: str, *bodies: bytes) -> None:
    connection = pika.BlockingConnection(connection_parameters(system.state.broker_url))
    with connection:
        channel = connection.channel()
        for body in bodies:
            channel.basic_publish("", queue, body)


def test_request_that_cannot_be_sent_is_an_error(system: System) -> None:
    wrong = {
        ("request", "gzip", "--release", "nosuch"): "--release",
        ("request", "gzip", "--arch", "vax"): "--arch",
        ("request", "../gzip"): "../gzip",
        ("request", "gzip", "--trigger", "gzip"): "--trigger",
        ("request", "gzip", "--env", "x"): "--env",
        ("request", "gzip", "--context", "nosuch"): "--context",
    }
    for arguments, field in wrong.items():
        command = [sys.executable, "-m", "testyard", *arguments]
        environment = {**os.environ, "TESTYARD_STATE": str(system.state.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, field in done.stderr) == (2, True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_disk_full_in_the_work_folder(tmp_path: Path) -> None:
    work = tmp_path / "state" / "work"
    LocalState.load_or_create(tmp_path / "state")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(work)], check=True)
    try:
        with running_system(tmp_path / "state", {"testbed": "null"}) as system:
            run = system.run_of("ty-fill")
            assert (run["outcome"], run["exit_code"]) == ("tmpfail", 16)
            assert "disk is full" in system.cli("log", run["run_id"])
            assert "disk is full" in system.get(f"/runs/{run['request_id']}").text
            assert system.run_of("ty-pass")["outcome"] == "pass"
    finally:
        subprocess.run(["umount", "--lazy", str(work)], check=True)


def test_testbed_that_cannot_start_is_a_result_that_says_why(tmp_path: Path) -> None:
    with running_system(tmp_path / "state", {"testbed": "unshare"}, releases=("nosuchrelease",)) as system:
        run = system.run_of("gzip")
        assert (run["outcome"], run["exit_code"]) == ("tmpfail", 16)
        log = system.cli("log", run["run_id"])
        assert "knows no archive of release nosuchrelease" in log
        assert "apt-get update" in log


def test_no_network_to_the_archive(tmp_path: Path) -> None:
    """A worker whose machine cannot resolve names: no root tree can be made."""
    settings = {"testbed": "unshare", "tree_dir": str(tmp_path / "trees")}
    with running_system(tmp_path / "state", settings) as system:
        _stop(system, "worker")
        nothing = tmp_path / "resolv.conf"
        nothing.write_text("nameserver 127.0.0.9\n")
        script = f'mount --bind {nothing} /etc/resolv.conf && exec "$0" -m worker'
        worker = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, sys.executable],
            env={**os.environ, "TESTYARD_CONFIG": str(system.state.settings_file)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            run = system.run_of("gzip")
        finally:
            worker.terminate()
            worker.wait(30)
        assert (run["outcome"], run["exit_code"]) == ("tmpfail", 16)
        log = system.cli("log", run["run_id"])
        assert "no root tree for" in log
        assert "Is the package archive reachable" in log


def test_all_parts_are_healthy_again(system: System) -> None:
    assert [part.reason for part in supervisor.status(system.state) if not part.healthy] == []

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker with several hosts: its orders, its reports, another host for another attempt."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.yard import PACKAGES, Yard, body_of


@pytest.fixture
def two_hosts(yard: Yard) -> Yard:
    yard.settings["worker"] |= {"name": f"worker {uuid.uuid4().hex[:8]}", "retry_pause": 0}
    yard.hosts = [
        {"name": "one", "testbed": "null", "slots": 1},
        {"name": "two", "testbed": "null", "slots": 2, "architectures": [yard.architecture]},
        {"name": "elsewhere", "testbed": "null", "slots": 50, "architectures": ["other"]},
    ]
    return yard


def command(yard: Yard, *words: str, code: int = 0) -> str:
    """The command line, with this yard's settings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    done = subprocess.run(
        [sys.executable, "-m", "testyard", *words],
        env={**clean, "TESTYARD_CONFIG": str(yard.folder / "settings.toml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def report(yard: Yard) -> dict[str, Any]:
    """What the yard's own worker said of itself last."""
    workers = json.loads(command(yard, "worker", "list", "--json"))["workers"]
    (ours,) = [worker for worker in workers if worker["name"] == yard.settings["worker"]["name"]]
    return dict(ours)


def hosts(yard: Yard) -> dict[str, tuple[int, str]]:
    """Slots in use and reason of a drain, by host."""
    return {host["name"]: (host["busy"], host["drained"]) for host in report(yard)["hosts"]}


def test_slots_of_all_hosts_are_used_and_no_more(two_hosts: Yard) -> None:
    yard = two_hosts
    for number in range(5):
        yard.publish(body_of("ty-slow", env=["TY_SECONDS=3"], triggers=[f"gzip/{number}"]))
    worker = yard.worker()
    yard.wait(lambda: len(yard.events("taken")) == 3, "three run")
    assert yard.waiting() == 2
    yard.wait(lambda: len(yard.completions()) == 5, "all are done", seconds=60)
    yard.drain(worker)
    assert sorted(str(one.worker["host"]) for one in yard.results())[-2:] == ["two", "two"]
    assert {one.worker["host"] for one in yard.results()} == {"one", "two"}


def test_drain_resume_and_reload(two_hosts: Yard) -> None:
    yard, name = two_hosts, str(two_hosts.settings["worker"]["name"])
    worker = yard.worker()
    yard.wait(lambda: "waiting for requests" in yard.log, "the worker is there")
    assert "two of" in command(yard, "worker", "drain", name, "two", "--reason", "a new kernel")
    assert hosts(yard)["two"] == (0, "a new kernel")
    for number in range(2):
        yard.publish(body_of("ty-pass", triggers=[f"gzip/{number}"]))
    yard.wait(lambda: len(yard.completions()) == 2, "two are done", seconds=60)
    assert {one.worker["host"] for one in yard.results()} == {"one"}

    command(yard, "worker", "drain", name)
    yard.publish(body_of("ty-pass", triggers=["gzip/9"]))
    worker.kill()
    worker.wait()
    worker = yard.worker()  # what is drained stays so
    yard.wait(lambda: yard.log.count("waiting for requests") == 2, "the worker is there again")
    assert not report(yard)["gone"]
    assert (yard.waiting(), len(yard.completions())) == (1, 2)

    yard.hosts[0]["name"] = "new"
    yard.hosts[0]["slots"] = 0
    yard.write_settings()
    refused = command(yard, "worker", "list", code=1)
    assert "worker.hosts.0.null.slots: must be 1 or more" in refused, refused
    yard.hosts[0]["slots"] = 7
    yard.settings["worker"]["work_dir"] = "/nonexistent"
    yard.write_settings()
    refused = command(yard, "worker", "reload", name, code=1)
    assert "old settings" in refused
    assert "worker.work_dir: a change needs a new start" in refused
    yard.settings["worker"]["work_dir"] = str(yard.folder / "work")
    yard.write_settings()
    command(yard, "worker", "reload", name)
    assert set(hosts(yard)) == {"new", "two", "elsewhere"}
    command(yard, "worker", "resume", name, "new")
    yard.wait(lambda: len(yard.completions()) == 3, "the one that waited", seconds=60)
    assert yard.results()[-1].worker["host"] == "new"
    assert hosts(yard)["two"][1]
    command(yard, "worker", "resume", name)
    assert {reason for _, reason in hosts(yard).values()} == {""}
    yard.drain(worker)
    assert "No worker is named nobody" in command(yard, "worker", "drain", "nobody", code=2)
    assert "no host third" in command(yard, "worker", "drain", name, "third", code=2)


def test_another_attempt_is_made_on_another_host(two_hosts: Yard, lasting: Path) -> None:
    yard = two_hosts
    yard.publish(body_of("ty-moody", env=[f"TY_COUNT={lasting / 'count'}"]))
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 1, "it is done", seconds=60)
    yard.drain(worker)
    (result,) = yard.results()
    assert (result.exit_code, result.worker["attempts"], result.worker["host"]) == (0, "2", "one")
    assert "(host two, rule testbed)" in yard.log


def test_two_attempts_do_not_wait_for_each_others_slot(two_hosts: Yard, lasting: Path) -> None:
    yard = two_hosts
    yard.hosts = [{"name": name, "testbed": "null"} for name in ("one", "two")]
    yard.settings["worker"]["retry_pause"] = 2
    for number in range(2):
        yard.publish(body_of("ty-moody", env=[f"TY_COUNT={lasting / str(number)}"]))
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 2, "both are done", seconds=90)
    yard.drain(worker)
    assert [(one.exit_code, one.worker["attempts"]) for one in yard.results()] == [(0, "2")] * 2


def test_a_bad_host_is_drained_and_told_of(two_hosts: Yard) -> None:
    yard, told = two_hosts, two_hosts.folder / "told"
    sources = yard.folder / "sources"
    for name in ("ty-tbfail", "ty-worse"):
        shutil.copytree(PACKAGES / "ty-tbfail", sources / name)
    yard.settings["worker"] |= {
        "attempts": 1,
        "host_failures": 3,
        "source_dir": str(sources),
        "announce": ["tee", str(told)],
    }
    yard.hosts = [{"name": "bad", "testbed": "null"}]
    for number, package in enumerate(["ty-tbfail", "ty-worse", "ty-tbfail", "ty-worse"]):
        yard.publish(body_of(package, triggers=[f"gzip/{number}"]))
    worker = yard.worker()
    yard.wait(lambda: len(yard.completions()) == 3, "three fail", seconds=60)
    yard.wait(lambda: told.exists() and told.read_text(), "it is announced")
    assert "host bad is drained: 3 runs in a row failed" in told.read_text()
    yard.wait(lambda: hosts(yard)["bad"][1], "it is drained")
    assert yard.waiting() == 1
    command(yard, "worker", "resume", str(yard.settings["worker"]["name"]))
    yard.wait(lambda: len(yard.completions()) == 4, "somebody has mended it", seconds=60)
    yard.drain(worker)


def test_what_keeps_hosts_from_running_tests(two_hosts: Yard) -> None:
    yard = two_hosts
    yard.hosts = [{"name": "one", "testbed": "null"}]
    yard.write_settings()
    assert command(yard, "worker", "check") == "one (null, slots: 1): well\n"
    yard.settings["worker"]["name"] = 5
    yard.write_settings()
    assert "worker.name" in command(yard, "worker", "check", code=1)


def test_a_second_worker_of_one_name_is_refused(two_hosts: Yard) -> None:
    yard = two_hosts
    first = yard.worker()
    yard.wait(lambda: "waiting for requests" in yard.log, "the worker is there")
    yard.settings["worker"]["work_dir"] = str(yard.folder / "other")
    assert yard.worker().wait(30) == 2
    assert "worker.name: " in yard.log
    assert "Give each worker its own name" in yard.log
    yard.drain(first)
    assert "has left" in command(yard, "worker", "list")
    again = yard.worker()  # the name is free
    yard.wait(lambda: yard.log.count("waiting for requests") == 2, "the worker is there")
    yard.drain(again)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real worker process on a real broker and store: how it ends, and whose a request is."""

from __future__ import annotations

import os
import signal
import uuid

import psutil
import pytest

from tests.integration.yard import CONTAINER, Yard, body_of, dead_process
from testyard.result import Result, write_result_tar
from worker.claim import ClaimState, Process


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
    assert list((yard.folder / "work" / "runs" / "local").iterdir()) == []
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

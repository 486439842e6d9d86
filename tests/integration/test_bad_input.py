# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests and tests that stop, crash or deceive an older worker; docs/delivery.md has the table."""

from __future__ import annotations

import shutil
import time
import uuid
from typing import Any

import psutil
import pytest

from tests.integration.yard import CONTAINER, Yard, body_of
from tests.servers import Swift
from tests.trees import machine_tree
from testyard.adapters.deadletters import dead_letters
from testyard.result import BLACKLISTED, UNKNOWN, Result

#: A body → what its dead letter says.
REFUSED = {
    b"\xff\xfe gzip": "body: not UTF-8",
    b"gzip\n{not json": "body: what follows the package is no JSON object",
    b'gzip\n["a", "list"]': "body: what follows the package is no JSON object",
    b"": "package: '' is no source package name",
    b"../../etc/passwd\n{}": "package: '../../etc/passwd' is no source package name",
    b"Gzip\n{}": "package: 'Gzip' has capital letters",
    b'gzip\n{"ppas": ["one"]}': "ppas: each must be owner/name",
    b'gzip\n{"ppas": ["a/b/c"]}': "ppas: each must be owner/name",
    b'gzip\n{"ppas": ["me:s3cret@a/b"]}': "ppas: an archive with credentials needs swiftuser",
    b'gzip\n{"ppas": "a/b"}': "ppas: must be a list of strings, not a string",
    b'gzip\n{"env": "A=1"}': "env: must be a list of strings, not a string",
    b'gzip\n{"env": ["no equals sign"]}': "env: ",
    b'gzip\n{"triggers": ["gzip"]}': "triggers: 'gzip' is not source/version",
    b'gzip\n{"triggers": 5}': "triggers: must be a list of strings, not a number",
    b'gzip\n{"all-proposed": "yes"}': "all-proposed: must be",
    b'gzip\n{"testname": "a b; reboot"}': "testname: ",
    b'gzip\n{"test-bzr": "lp:gzip"}': "test-bzr: Bazaar branches cannot be tested",
    b'gzip\n{"test-git": "file:///etc"}': "test-git: must be an http(s) or git address",
    b'gzip\n{"build-git": "https://me:s3cret@example.org/x"}': "build-git: must be an http(s) or git address",
    b'gzip\n{"test-git": "https://example.org/x --upload-pack=reboot y"}': "test-git: must be",
    b'gzip\n{"requester": "two\\nlines"}': "requester: must be one line",
    b'gzip\n{"swiftuser": ".r:*"}': "swiftuser: letters, digits",
    b'gzip\n{"readable-by": [""]}': "readable-by: holds an empty name",
}


def test_what_can_never_work_is_told_with_its_reason_and_the_worker_goes_on(yard: Yard) -> None:
    worker = yard.worker()
    ids = {}
    for body in REFUSED:
        ids[body] = str(uuid.uuid4())
        yard.publish(body, message_id=ids[body])
    yard.publish(body_of("ty-pass"))
    yard.wait(lambda: len(yard.completions()) == 1, "the last one is run", 60)
    yard.wait(lambda: len(yard.events("rejected")) == len(REFUSED), "all are told")
    yard.drain(worker)
    reasons = {event["request_id"]: event["data"]["reason"] for event in yard.events("rejected")}
    letters = {letter.request_id: letter for letter in dead_letters(str(yard.settings["broker"]["url"]))}
    for body, reason in REFUSED.items():
        letter = letters[ids[body]]
        assert (letter.body, letter.queue) == (body, str(yard.queue))
        assert letter.reason.startswith(reason), body
        assert "s3cret" not in letter.reason
        told = reasons[ids[body]]
        private = b"swiftuser" in body or b"readable-by" in body
        assert told == (f"{letter.reason.partition(':')[0]}: of a wrong form" if private else letter.reason)
    assert yard.waiting() == 0
    assert "Traceback" not in yard.log


def _run(yard: Yard, *bodies: bytes, seconds: float = 60) -> dict[str, Result]:
    """Have them run by one worker; results by package."""
    worker = yard.worker()
    for body in bodies:
        yard.publish(body)
    yard.wait(lambda: len(yard.completions()) == len(bodies), "all have ended", seconds)
    yard.drain(worker)
    assert yard.waiting() == 0
    assert "Traceback" not in yard.log
    return {result.source: result for result in yard.results()}


def test_what_must_not_run(yard: Yard) -> None:
    lists = yard.folder / "lists"
    lists.mkdir()
    (lists / "never_run").write_text("ty-slow\n")
    yard.settings["worker"]["package_lists"] = str(lists)
    result = _run(yard, body_of("ty-slow", env=["TY_SECONDS=600"]))["ty-slow"]
    assert (result.exit_code, result.version) == (99, BLACKLISTED)
    assert "never_run" in result.worker["cause"]


def test_an_architecture_that_a_release_is_not_tested_on(yard: Yard) -> None:
    yard.settings["topology"]["allowed"] = {"sample": ["armhf"]}
    result = _run(yard, body_of("ty-pass"))["ty-pass"]
    assert (result.exit_code, result.version) == (99, UNKNOWN)
    assert result.worker["cause"] == f"not run: sample is not tested on {yard.architecture}"


def test_a_log_that_is_no_text_and_one_that_is_too_long(yard: Yard) -> None:
    limit = 4_000_000
    yard.settings["worker"]["max_log_bytes"] = limit
    results = _run(yard, body_of("ty-noise", env=["TY_BYTES=50000000"]))
    result = results["ty-noise"]
    assert result.exit_code == 0
    (name,) = [name for name in yard.objects() if name.endswith("log.gz")]
    log = yard.raw_log(name)
    assert b"nul \0, escape \x1b[31mred\x1b[2J, bell \a, no text \xff\xfe, end of noise\n" in log
    assert limit < len(log) < limit + 10_000
    assert f"log cut here, at {limit} bytes".encode() in log
    assert yard.completions()[0]["exitcode"] == 0
    for kind in ("teststatus.fanout", "testyard.events"):
        for message in yard.heard(kind):
            message.decode()  # is text whatever the test printed


def test_an_upload_that_fails_five_times_into_a_container_that_is_not_there(
    yard: Yard, store_node: Swift
) -> None:
    yard.settings["store"]["retries"] = 0
    yard.settings["worker"]["lease"] = 300
    worker = yard.worker()
    yard.publish(body_of("ty-slow", env=["TY_SECONDS=2"], ppas=["team/new"]))
    yard.wait(lambda: any(event["data"]["phase"] == "test" for event in yard.events("phase")), "it runs")
    store_node.stop()
    try:
        yard.wait(lambda: yard.log.count("trying again") >= 5, "five attempts have failed", 60)
    finally:
        store_node.start()
    yard.wait(lambda: len(yard.completions()) == 1, "it is told", 60)
    yard.drain(worker)
    assert [result.exit_code for result in yard.results(f"{CONTAINER}-team-new")] == [0]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_log_of_two_gigabytes(yard: Yard) -> None:
    """The worker's memory stays where it is; the log in the store is cut."""
    worker = yard.worker()
    yard.publish(body_of("ty-noise", env=["TY_BYTES=2147483648"]))
    most = 0
    deadline = time.monotonic() + 800
    while not yard.completions():
        most = max(most, psutil.Process(worker.pid).memory_info().rss)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yard.drain(worker)
    (result,) = yard.results()
    print(f"2 GiB of log: {result.duration} s, the worker had at most {most / 2**20:.0f} MiB")
    assert (result.exit_code, most < 200 * 2**20) == (0, True)


def test_one_that_ignores_signals(yard: Yard) -> None:
    """autopkgtest's own limit, and the whole run's, end it; nothing of it stays."""
    yard.settings["worker"]["timeouts"] = {"test": 3, "short": 20}
    begun = time.monotonic()
    result = _run(yard, body_of("ty-stubborn"), body_of("ty-pass"))["ty-stubborn"]
    assert result.exit_code == 4
    assert "timed out" in result.summary
    assert time.monotonic() - begun < 50
    assert not _named("stubborn")


def test_one_that_ignores_signals_for_longer_than_a_run_may_take(yard: Yard) -> None:
    yard.settings["worker"].update(timeouts={"run": 4}, attempts=1)
    results = _run(yard, body_of("ty-stubborn"), body_of("ty-pass"))
    assert (results["ty-stubborn"].exit_code, results["ty-pass"].exit_code) == (16, 0)
    assert "longer than 4 s in all" in results["ty-stubborn"].worker["cause"]
    assert not _named("stubborn")


def test_one_that_forks_for_ever(yard: Yard) -> None:
    """It gets so many processes, and the run beside it, of the same account, all that it needs."""
    tree = yard.use_unshare(slots=2, max_processes=150, timeouts={"test": 12})
    shutil.copyfile(machine_tree(), tree)
    worker = yard.worker()
    yard.publish(body_of("ty-forks"))
    yard.wait(lambda: _named("forks") >= 100, "it has what it may have", 60)
    yard.publish(body_of("ty-pass"))
    most = 0
    deadline = time.monotonic() + 90
    while len(yard.completions()) < 2:
        most = max(most, _named("forks"))
        assert time.monotonic() < deadline, yard.log
        time.sleep(0.2)
    yard.drain(worker)
    results = {result.source: result for result in yard.results()}
    forks = results["ty-forks"]
    assert (forks.exit_code, results["ty-pass"].exit_code) == (4, 0)
    assert yard.completions()[0]["package"] == "ty-pass"  # while the other one still tried
    assert "no more than " in yard.log_of(forks)
    assert 100 <= most <= 150
    assert not _named("forks")


def _named(script: str) -> int:
    """How many processes run this test's script."""
    found = 0
    for process in psutil.process_iter():
        try:
            words: list[Any] = process.cmdline()
        except psutil.Error:
            continue
        found += any(str(word).endswith(f"debian/tests/{script}") for word in words)
    return found

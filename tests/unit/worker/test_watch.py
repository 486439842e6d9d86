# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small parts: live reports, the watchdog, package sources, the testbeds' account."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from testyard.errors import TestbedError
from testyard.event import Event, EventKind
from testyard.livelog import LogPiece
from testyard.queue import QueueName
from testyard.request import make_request
from testyard.run import Phase, PhaseTime
from testyard.settings import Timeouts
from worker.aptsources import AptSource, sources_lines
from worker.live import LiveReport, LiveSender, Message
from worker.testbed.account import Account, testbed_account
from worker.watchdog import Watchdog

ID = "0b0f7a1e-5a39-4c6e-9d53-3a4b6f0c2d11"
QUEUE = QueueName("ubuntu", "noble", "amd64")


class Collected(LiveSender):
    """Keeps what it is handed."""

    def __init__(self) -> None:
        super().__init__("amqp://127.0.0.1:1/")
        self.sent: list[tuple[str, str, bytes]] = []

    def send(self, message: Message) -> None:
        self.sent.append((message.exchange, message.key, message.body))


def tell_all(**parameters: object) -> list[tuple[str, str, bytes]]:
    sender = Collected()
    fields = {
        "triggers": ["trigger-source/7.7~version"],
        "env": ["VAR=envvalue"],
        "requester": "asker",
        **parameters,
    }
    report = LiveReport(sender, make_request("secretpackage", fields), ID, QUEUE)
    report.taken("worker-1")
    report.phase(PhaseTime(Phase.TEST, 5.0, None, "secret-subtest"))
    report.log([LogPiece("log text \n", 0, 10)])
    report.status(running=True, seconds=12.9, tail="log text")
    report.stored("private-autopkgtest-noble", "noble/amd64/s/secretpackage/20260101_000000_12345@", 4)
    return sender.sent


def test_a_public_request_shows_all() -> None:
    sent = tell_all()
    events = [Event.from_bytes(body) for exchange, _, body in sent if exchange == "testyard.events"]
    assert [event.kind for event in events] == [
        EventKind.TAKEN,
        EventKind.PHASE,
        EventKind.LOG,
        EventKind.STORED,
    ]
    assert [key for exchange, key, _ in sent if exchange == "testyard.events"] == [
        f"{kind}.{ID}" for kind in ("taken", "phase", "log", "stored")
    ]
    assert events[2].data == {"text": "log text \n", "start": 0, "end": 10, "complete": False}
    status = next(json.loads(body) for exchange, _, body in sent if exchange == "teststatus.fanout")
    assert status == {
        "release": "noble",
        "architecture": "amd64",
        "package": "secretpackage",
        "running": True,
        "params": {"triggers": ["trigger-source/7.7~version"], "env": ["VAR=envvalue"], "requester": "asker"},
        "duration": 12,
        "logtail": "log text",
        "uuid": ID,
    }


@pytest.mark.parametrize("parameters", [{"swiftuser": "reader"}, {"readable-by": ["alice"]}])
def test_a_private_request_shows_nothing_of_what_it_is(parameters: dict[str, object]) -> None:
    sent = tell_all(**parameters)
    words = (
        "secretpackage",
        "secret-subtest",
        "trigger-source",
        "7.7~version",
        "envvalue",
        "asker",
        "log text",
    )
    more = ("reader", "alice", "private-autopkgtest", "20260101")
    for exchange, key, body in sent:
        for word in (*words, *more):
            assert word.encode() not in body, (exchange, key, word)
    kinds = [key.partition(".")[0] for exchange, key, _ in sent if exchange == "testyard.events"]
    assert kinds == ["taken", "phase", "stored"]
    status = next(json.loads(body) for exchange, _, body in sent if exchange == "teststatus.fanout")
    assert (status["package"], status["logtail"]) == ("private-test", "Running private test")
    assert (status["params"], status["uuid"]) == ({}, None)


def test_a_sender_without_a_broker_never_makes_a_run_wait() -> None:
    sender = LiveSender("amqp://127.0.0.1:1/")
    started = time.monotonic()
    for _ in range(5000):
        sender.send(Message("testyard.events", "log.x", b"x"))
        sender.send_made(lambda: [Message("testyard.events", "log.x", b"x")])
    sender.finish(timeout=0.2)
    assert time.monotonic() - started < 2


def test_watchdog_lets_a_quiet_run_be(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, Timeouts())
    time.sleep(1.05)
    watchdog.look()


def test_watchdog_ends_a_run_that_is_silent_beyond_every_limit(tmp_path: Path) -> None:
    limits = Timeouts(short=-600, install=-600, test=-600, copy_files=-600, build=-600)
    watchdog = Watchdog(tmp_path, limits)  # no seconds of silence are allowed
    time.sleep(1.05)
    with pytest.raises(TestbedError, match="silent for 0 s"):
        watchdog.look()
    longer = limits.model_copy(update={"build": -599 + 60})
    watchdog = Watchdog(tmp_path, longer)
    time.sleep(1.05)
    watchdog.look()  # the longest limit counts
    patient = Watchdog(tmp_path, limits.model_copy(update={"test": -599}))
    time.sleep(0.6)
    patient.heard()
    time.sleep(0.5)
    patient.look()


def test_watchdog_ends_a_run_that_takes_too_long_however_much_it_says(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path, Timeouts(run=0))
    time.sleep(1.05)
    watchdog.heard()
    with pytest.raises(TestbedError, match="longer than 0 s in all") as caught:
        watchdog.look()
    assert "long_tests" in caught.value.resolution


def test_sources_lines() -> None:
    sources = (
        AptSource("http://archive.example.org/debian", "bookworm-updates", ("main",)),
        AptSource("http://archive.example.org/debian", "bookworm", ("contrib", "main")),
    )
    assert sources_lines(sources) == (
        "deb http://archive.example.org/debian bookworm contrib main",
        "deb-src http://archive.example.org/debian bookworm contrib main",
        "deb http://archive.example.org/debian bookworm-updates main",
        "deb-src http://archive.example.org/debian bookworm-updates main",
    )
    assert sources_lines(()) == ()


ACCOUNTS = {
    "": ("not set, and the worker is root", "unprivileged"),
    "no-such-account": ("no account no-such-account", "useradd"),
    "daemon": ("has no range in /etc/subuid", "usermod --add-subuids"),
}


@pytest.mark.root
@pytest.mark.parametrize("name", ACCOUNTS)
def test_account_errors_say_what_to_do(name: str) -> None:
    problem, advice = ACCOUNTS[name]
    with pytest.raises(TestbedError, match=problem) as caught:
        testbed_account(name)
    assert advice in caught.value.resolution


@pytest.mark.root
def test_root_is_never_the_testbeds_account() -> None:
    with pytest.raises(TestbedError, match="must not be root"):
        testbed_account("root")


def test_only_root_becomes_another_account() -> None:
    other = Account("tester", 1234, 1235, switch=True).argv("true", "-x")
    assert other[:5] == ["setpriv", "--reuid", "1234", "--regid", "1235"]
    assert other[-4:] == ["--pdeathsig", "KILL", "true", "-x"]
    own = Account("tester", 1234, 1235, switch=False).argv("true")
    assert own == ["setpriv", "--pdeathsig", "KILL", "true"]


def test_a_missing_folder_is_removed_already(tmp_path: Path) -> None:
    Account("tester", 1234, 1235, switch=True).remove_tree(tmp_path / "nothing")
    folder = tmp_path / "-rf"
    folder.mkdir()
    (folder / "file").write_text("")
    Account("tester", 1234, 1235, switch=True).remove_tree(folder)
    assert not folder.exists()

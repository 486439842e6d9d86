# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests on another machine: a real sshd with processes and /tmp of its own stands for it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sshd import far_machine, make_key
from tests.system import PACKAGES
from tests.testbeds import prepared, ran, started
from tests.trees import account
from testyard.errors import LastingTestbedError, TestbedError
from testyard.hosts import SshHost
from testyard.local.machine import machine_architecture, machine_release
from testyard.local.ports import free_ports
from worker.testbed.ssh import SshTestbed

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Far:
    """The other machine. ``settings`` are those of a host that may use it."""

    folder: Path
    port: int

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "name": "far",
            "address": "127.0.0.1",
            "port": self.port,
            "identity": self.folder / "key",
            "known_hosts": self.folder / "known",
        }

    def testbed(self, **settings: Any) -> SshTestbed:
        return SshTestbed(SshHost(**{**self.settings, **settings}), account(), PACKAGES)

    def requests(self) -> set[str]:
        """What clients have asked for, as the log has it."""
        return set(re.findall(r"(?:request|rtype) (\S+) (?:want_)?reply", (self.folder / "log").read_text()))

    def forget(self) -> None:
        """Begin a new log."""
        (self.folder / "log").write_text("")

    def processes(self, word: str) -> list[psutil.Process]:
        """Those with this in their environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if any(word in f"{name}={value}" for name, value in process.environ().items()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder, port = tmp_path_factory.mktemp("far"), free_ports(1)[0]
    for name in ("host", "key", "other"):
        make_key(folder / name)
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    with far_machine(folder, "127.0.0.1", port):
        yield Far(folder, port)


def test_a_package_is_tested_over_there_and_nothing_of_ours_goes_with_it(far: Far, tmp_path: Path) -> None:
    far.forget()
    testbed = far.testbed()
    assert testbed.problems() == ()
    assert not testbed.disposable
    exit_code, said = ran(testbed, tmp_path, "ty-fail")
    assert exit_code == 4, said
    assert re.search(r"^good +PASS$", said, re.MULTILINE), said
    assert re.search(r"^bad +FAIL", said, re.MULTILINE), said
    # no agent, display, forwarded port or variable was offered; the last is a client's farewell to more
    assert far.requests() <= {"exec", "keepalive@openssh.com", "no-more-sessions@openssh.com"}, said
    assert "exec" in far.requests()
    assert str(far.folder / "key") not in said


def test_a_usual_client_would_offer_all_that(far: Far) -> None:
    far.forget()
    usual = ("ssh", "-F", "none", "-A", "-R", "0:127.0.0.1:9", "-o", "SendEnv=TY_*", "-o", "BatchMode=yes")
    place = ("-o", f"UserKnownHostsFile={far.folder}/known", "-p", str(far.port), "root@127.0.0.1", "true")
    command = ["ssh-agent", *usual, "-i", str(far.folder / "key"), *place]
    subprocess.run(command, env={"PATH": "/usr/bin:/bin", "TY_SECRET": "x"}, timeout=20, check=True)
    assert {"env", "auth-agent-req@openssh.com", "tcpip-forward"} <= far.requests()


def test_what_a_killed_run_started_is_ended_over_there(far: Far, tmp_path: Path) -> None:
    testbed = far.testbed()
    with started(testbed, tmp_path, "ty-slow", "--env=TY_SECONDS=100", "--env=TY_MARK=killed") as run:
        run.until("second 2")
        assert far.processes("TY_MARK=killed")
        run.process.kill()
        run.end()
    assert far.processes("TY_MARK=killed") == []


def test_what_a_dead_worker_left_is_ended_before_the_next_run(far: Far) -> None:
    inside = next(process for process in psutil.process_iter() if _listens(process, far))
    command = ["nsenter", "-t", str(inside.pid), "-p", "-m", "sleep", "100"]
    left = subprocess.Popen(command, env={"TESTYARD_RUN": "0123456789abcdef"})
    (far.folder / "autopkgtest.old").mkdir()
    # it has begun once nsenter has become a parent
    while not psutil.Process(left.pid).children():
        time.sleep(0.01)
    prepared(far.testbed(reset=("true",)))  # the program does it
    assert left.poll() is None
    prepared(far.testbed())
    assert left.wait(10) != 0
    assert not (far.folder / "autopkgtest.old").exists()


def _listens(process: psutil.Process, far: Far) -> bool:
    try:
        return process.name() == "sshd" and str(far.port) in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_the_host_is_brought_back_before_each_run(far: Far, tmp_path: Path) -> None:
    testbed = far.testbed(reset=["sh", "-c", f"echo again >> {tmp_path}/resets"])
    assert testbed.disposable
    for _ in range(2):
        assert prepared(testbed) == ["bringing host far back to a clean state"]
    assert (tmp_path / "resets").read_text() == "again\nagain\n"
    with pytest.raises(TestbedError, match="exit status 1") as caught:
        prepared(far.testbed(reset=["false"]))
    assert not isinstance(caught.value, LastingTestbedError)


def test_a_host_that_does_not_answer_may_be_tried_again(far: Far) -> None:
    testbed = far.testbed(port=free_ports(1)[0])
    with pytest.raises(TestbedError, match=r"does not answer: .* Connection refused") as caught:
        prepared(testbed)
    assert not isinstance(caught.value, LastingTestbedError)
    (problem,) = testbed.problems()
    assert "does not answer" in problem.what
    assert problem.mend


def test_a_host_that_stands_still_is_given_up(far: Far) -> None:
    inside = next(process for process in psutil.process_iter() if _listens(process, far))
    inside.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert "does not answer" in far.testbed().problems()[0].what
        assert time.monotonic() - began < 5.5
    finally:
        inside.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("settings", "brief", "mend"),
    [
        ({"known": "other.pub"}, "its key is not the one in", "cat /etc/ssh/ssh_host_"),
        ({"known": None}, "its key is not in", "cat /etc/ssh/ssh_host_"),
        ({"identity": "other"}, "root@127.0.0.1 port .* refuses the key", "authorized_keys"),
        ({"identity": "nosuch"}, "nosuch cannot be read: No such file", "files that the worker can read"),
        ({"identity": "host.pub"}, "host.pub is no private key without a passphrase", "ssh-keygen"),
    ],
    ids=["another host key", "unknown host", "key refused", "no key", "not a private key"],
)
def test_what_lasts_says_how_it_is_mended(
    far: Far, tmp_path: Path, settings: dict[str, Any], brief: str, mend: str
) -> None:
    changed: dict[str, Any] = {}
    if "known" in settings:
        known, changed["known_hosts"] = settings["known"], tmp_path / "known"
        line = f"[127.0.0.1]:{far.port} {(far.folder / known).read_text()}" if known else ""
        changed["known_hosts"].write_text(line)
    else:
        changed["identity"] = far.folder / settings["identity"]
    testbed = far.testbed(**changed)
    with pytest.raises(LastingTestbedError, match=brief) as caught:
        prepared(testbed)
    assert mend in caught.value.resolution
    assert [(problem.what, problem.mend) for problem in testbed.problems()] == [
        (caught.value.brief, caught.value.resolution)
    ]


@pytest.mark.parametrize(("word", "wanted"), [("architecture", "s390x"), ("release", "sid")])
def test_a_host_of_another_kind_is_refused(far: Far, word: str, wanted: str) -> None:
    asked = {"architecture": machine_architecture(), "release": machine_release(), word: wanted}
    with pytest.raises(LastingTestbedError, match=f"has {word} .*, the test is for {wanted}") as caught:
        far.testbed().prepare(asked["release"], asked["architecture"], lambda _: None, lambda: False)
    assert f"Set {word}s = [" in caught.value.resolution

# SPDX-License-Identifier: AGPL-3.0-or-later
"""LXD testbeds on a real server, by socket and by TLS: runs, kills, leftovers, what can be reached."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.machine import PORT
from tests.lxd import BRIDGE, SECOND, Lxd, lxd_server
from tests.system import PACKAGES, TREES
from tests.testbeds import prepared, ran, started
from tests.trees import account
from testyard.errors import LastingTestbedError, TestbedError
from testyard.local.machine import machine_architecture, machine_release
from worker.testbed.lxd import LxdProcess, LxdTestbed
from worker.testbed.lxd_images import ContainerRecipe
from worker.testbed.network import own_addresses
from worker.testbed.owners import Owners
from worker.testbed.recipe import Making
from worker.testbed.tree import TreeCache

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
OWNER, RUN, UNTIL = "user.testyard.owner", "user.testyard.run", "user.testyard.until"


@pytest.fixture(scope="module")
def lxd() -> Iterator[Lxd]:
    with lxd_server() as found:
        yield found


@pytest.fixture
def testbed(lxd: Lxd, tmp_path: Path) -> LxdTestbed:
    return lxd.testbed(tmp_path / "work")


def tidied(testbed: LxdTestbed) -> list[str]:
    notes: list[str] = []
    testbed.tidy(notes.append)
    return notes


def test_two_slots_at_the_same_time_on_a_server_that_a_token_joined(
    lxd: Lxd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    token = tmp_path / "token"
    said = lxd.lxc("config", "trust", "add", "--name", "worker-1").strip().splitlines()
    token.write_text(said[-1])
    assert lxd.testbed(tmp_path / "work", address=lxd.url, token=token).problems() == ()
    testbed = lxd.testbed(tmp_path / "work", address=lxd.url)  # it was needed for once
    assert (testbed.name, testbed.disposable, testbed.vm) == ("lxd", True, False)
    assert "storage pool default is a folder" in prepared(testbed)[0]
    with ThreadPoolExecutor(2) as pool:
        passed = pool.submit(ran, testbed, tmp_path, "ty-pass")
        with started(testbed, tmp_path, "ty-fail", big=True) as run:
            run.until("unbuilt-tree")
            config = [config for config in lxd.instances().values() if config["limits.cpu"] == "4"]
            assert [c["limits.memory"] for c in config] == ["8192MiB"]
            assert run.end() == 4, run.said
        exit_code, log = passed.result()
    assert exit_code == 0, log
    assert re.search(r"^artifact +PASS$", log, re.MULTILINE), log
    assert lxd.instances() == {}
    key = tmp_path / "work" / "lxd" / "lxd-1" / "client.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_living_run_is_kept_and_a_killed_one_is_gone(lxd: Lxd, tmp_path: Path) -> None:
    owners = Owners()
    testbed = lxd.testbed(tmp_path / "work", owners=owners)
    prepared(testbed)
    with started(testbed, tmp_path, "ty-slow", "--env=TY_SECONDS=600") as run:
        run.until("second 1")
        (name,) = lxd.instances()
        lxd.lxc("config", "set", name, f"{UNTIL}=1")
        assert tidied(testbed) == []
        owners.vouch()
        assert float(lxd.instances()[name][UNTIL]) > time.time() + 3600
        # reloads: more slots; another name, so that the old host's runs are only known to its owner
        assert tidied(lxd.testbed(tmp_path / "work", owners=owners, slots=3)) == []
        renamed = lxd.testbed(tmp_path / "work", owners=owners, name="renamed")
        lxd.lxc("config", "set", name, f"{UNTIL}=1")
        owners.vouch()
        assert tidied(renamed) == []
        assert float(lxd.instances()[name][UNTIL]) > time.time() + 3600
        other = lxd.testbed(tmp_path / "elsewhere", worker="worker-2")
        assert tidied(other) == []
        # another host of the same worker's, on the same server
        assert tidied(lxd.testbed(tmp_path / "work", name="lxd-2")) == []
        assert set(lxd.instances()) == {name}
        run.process.kill()
        run.end()
    assert lxd.instances() == {}


def test_one_that_forks_for_ever_gets_so_many_processes(lxd: Lxd, tmp_path: Path) -> None:
    testbed = lxd.testbed(tmp_path / "work", processes=100)
    prepared(testbed)
    with started(testbed, tmp_path, "ty-forks", "--env=TY_MOST=400") as run:
        run.until("no more than")
        (name,) = lxd.instances()
        assert lxd.instances()[name]["limits.processes"] == "200"
        run.process.kill()
        run.end()
    (most,) = re.findall(r"no more than (\d+)", run.said)
    assert 100 <= int(most) < 200, run.said


class Ended:
    """What a run needs beside its own processes, ended before it."""

    def end(self) -> str:
        return "the network ended"


def test_an_instance_is_gone_also_when_its_run_ended_in_an_error(
    lxd: Lxd, testbed: LxdTestbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(testbed)
    with started(testbed, tmp_path, "ty-slow", "--env=TY_SECONDS=600") as run:
        run.until("second 1")
        assert isinstance(run.process, LxdProcess)
        monkeypatch.setattr(run.process._run, "_helpers", (Ended(),))
        run.process.kill()
        with pytest.raises(TestbedError, match="the network ended"):
            run.end()
    assert lxd.instances() == {}


def test_what_a_killed_worker_left_goes_at_its_next_start(
    lxd: Lxd, testbed: LxdTestbed, tmp_path: Path
) -> None:
    prepared(testbed)
    script = (
        "import sys, pathlib; from tests.lxd import Lxd; from tests.testbeds import started\n"
        "folder, port, work = sys.argv[1:]\n"
        "testbed = Lxd(pathlib.Path(folder), int(port)).testbed(pathlib.Path(work) / 'work')\n"
        "with started(testbed, pathlib.Path(work), 'ty-slow') as run:\n"
        "    run.until('unbuilt-tree'); print(1, flush=True); run.end()"
    )
    command = [sys.executable, "-c", script, str(lxd.folder), str(lxd.port), str(tmp_path)]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    worker = subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, text=True)
    assert worker.stdout
    assert worker.stdout.readline() == "1\n"
    worker.kill()
    worker.wait()
    (name,) = lxd.instances()
    assert tidied(lxd.testbed(tmp_path / "elsewhere", worker="worker-2")) == []
    assert tidied(testbed) == [f"removing {name}, left by a run that is over"]
    assert lxd.instances() == {}


def test_others_are_removed_when_nobody_vouches_for_them(lxd: Lxd, testbed: LxdTestbed) -> None:
    soon, past = str(int(time.time()) + 600), str(int(time.time()) - 1)
    marks = {
        "unmarked": {},
        "vouched-for": {OWNER: "w/h/1/x", RUN: "1", UNTIL: soon},
        "expired": {OWNER: "w/h/1/x", RUN: "2", UNTIL: past},
        "no-time": {OWNER: "w/h/1/x", RUN: "3", UNTIL: "soon"},
        "ours": {OWNER: testbed.owner.name, RUN: "4", UNTIL: soon},
    }
    for name, config in marks.items():
        options = [word for key, value in config.items() for word in ("-c", f"{key}={value}")]
        lxd.lxc("init", "--empty", name, "-s", "default", *options)
    notes = tidied(testbed)
    assert sorted(notes) == [
        "removing expired, which w/h/1/x left",
        "removing ours, left by a run that is over",
    ]
    assert set(lxd.instances()) == {"unmarked", "vouched-for", "no-time"}
    for name in lxd.instances():
        lxd.lxc("delete", name)


def test_nothing_of_the_server_s_machine_is_reached(lxd: Lxd, testbed: LxdTestbed, tmp_path: Path) -> None:
    prepared(testbed)
    fourth = [address for address in own_addresses() if ":" not in address]
    addresses = ["127.0.0.1", "::1", BRIDGE, SECOND, fourth[0]]
    targets = [f"{address}/{PORT}" for address in addresses]
    update = "apt-get update -o APT::Update::Error-Mode=any >/dev/null && echo ARCHIVE REACHED"
    with lxd.listening(*addresses) as listener:
        assert listener.stdin
        assert listener.stdout

        def heard() -> list[str]:
            listener.stdin.write("\n")
            listener.stdin.flush()
            return list(json.loads(listener.stdout.readline()))

        probe = PACKAGES / "ty-intruder" / "debian" / "tests" / "probe.py"
        outside = subprocess.run(
            lxd.inside("/usr/bin/python3", "-I", str(probe)),
            env={**os.environ, "TY_TARGETS": ",".join(targets)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert heard() == sorted(f"{kind} {a}" for kind in ("tcp", "udp") for a in addresses), outside.stdout
        variables = (f"--env=TY_TARGETS={','.join(targets)}", f"--setup-commands={update}")
        exit_code, said = ran(testbed, tmp_path, "ty-knock", *variables)
        assert exit_code == 0, said
        assert "ARCHIVE REACHED" in said
        closed = re.findall(r"^closed (tcp|udp) (\S+)", said, re.MULTILINE)
        assert sorted(closed) == sorted((kind, a) for kind in ("tcp", "udp") for a in addresses), said
        assert heard() == []


def test_a_new_address_of_the_machine_is_refused_too(lxd: Lxd, testbed: LxdTestbed) -> None:
    prepared(testbed)
    subprocess.run(lxd.inside("ip", "address", "add", "203.0.113.99/32", "dev", "second"), check=True)
    assert "203.0.113.99" not in str(lxd.ask("/1.0/network-acls/testyard"))
    prepared(testbed)
    refused = lxd.ask("/1.0/network-acls/testyard")["egress"][0]
    assert refused["action"] == "reject"
    assert {"203.0.113.99", SECOND, BRIDGE} <= set(refused["destination"].split(","))


def test_a_server_that_is_another_or_does_not_trust_us_is_told(lxd: Lxd, tmp_path: Path) -> None:
    right = lxd.ask("/1.0")["environment"]["certificate_fingerprint"]
    for number, (more, words) in enumerate(
        (
            ({}, "is not known"),
            ({"fingerprint": "0" * 64}, "has another certificate"),
            ({"fingerprint": right}, "is not trusted"),
            ({"fingerprint": right, "token": tmp_path / "none"}, "cannot be read"),
        )
    ):
        testbed = lxd.testbed(tmp_path / str(number), address=lxd.url, **more)
        with pytest.raises(LastingTestbedError, match=words) as caught:
            prepared(testbed)
        assert caught.value.resolution or "token" in caught.value.brief
        (problem,) = testbed.problems()
        assert words in problem.what


def test_problems_are_said(lxd: Lxd, tmp_path: Path) -> None:
    assert lxd.testbed(tmp_path / "work").problems() == ()

    def problems(**more: object) -> str:
        testbed = lxd.testbed(tmp_path / "work", **more)
        return "\n".join(f"{problem.what} — {problem.mend}" for problem in testbed.problems())

    assert "no socket /nowhere/unix.socket" in problems(address="unix:/nowhere/unix.socket")
    assert "has no storage pool ssd" in problems(pool="ssd")
    assert "cannot run s390x" in problems(architectures=("s390x",))
    assert "this machine cannot make images for s390x" in problems(architectures=("s390x",))
    assert re.search("no virtual machines: .*(vhost_vsock|KVM|QEMU|qemu)", problems(vm_image="vm/{release}"))
    named = problems(image="theirs/{release}/{architecture}")
    assert f"has no image theirs/{machine_release()}/{machine_architecture()}" in named
    began = time.monotonic()
    assert "does not answer" in problems(address="https://127.0.0.1:9", fingerprint="0" * 64)
    assert time.monotonic() - began < 5


class CopiedRecipe:
    """The tree that all tests share, made again at no cost; or one that cannot be made."""

    what = "root tree"
    suffix = "-copied.tar"

    def __init__(self, source: Path | None) -> None:
        self._source = source

    def make(self, making: Making) -> Path:
        if self._source is None:
            raise TestbedError("the archive is gone")
        return Path(shutil.copy(self._source, making.scratch / "tree.tar"))


def test_images_are_made_anew_and_old_ones_go(lxd: Lxd, testbed: LxdTestbed, tmp_path: Path) -> None:
    prepared(testbed)
    alias = testbed.images.alias(machine_release(), machine_architecture())
    first = lxd.ask(f"/1.0/images/aliases/{alias}")["target"]
    shared = TreeCache(TREES, account(), 86400, ContainerRecipe())
    source = shared.path(machine_release(), machine_architecture())

    def ensured(recipe: CopiedRecipe) -> list[str]:
        notes: list[str] = []
        trees = TreeCache(tmp_path / "trees", account(), 0, recipe)
        images = replace(testbed.images, trees=trees)
        images.ensure(machine_release(), machine_architecture(), notes.append, lambda: False)
        return notes

    notes = ensured(CopiedRecipe(None))
    assert "is old and could not be made anew" in notes[-1]
    assert lxd.ask(f"/1.0/images/aliases/{alias}")["target"] == first
    ensured(CopiedRecipe(source))
    second = lxd.ask(f"/1.0/images/aliases/{alias}")["target"]
    assert second != first
    assert tidied(testbed) == []  # a run may have looked it up just now
    lxd.lxc("image", "set-property", first, "testyard.replaced", "1")
    assert tidied(testbed) == [f"removing a replaced image {alias}"]
    assert [image["fingerprint"] for image in lxd.ask("/1.0/images?recursion=1")] == [second]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Virtual machines, as far as that is quick: one is booted in tests/integration/test_testbed_qemu.py."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from testyard.errors import LastingTestbedError
from testyard.hosts import QemuHost
from testyard.settings import Timeouts
from worker import process
from worker.limits import limits_for
from worker.testbed.account import Account
from worker.testbed.image import KINDS, ImageRecipe, kind_of, machine_config
from worker.testbed.kvm import Kvm
from worker.testbed.qemu import QemuTestbed
from worker.testbed.tree import TreeCache

AMD64 = KINDS["amd64"]


def ours() -> Account:
    return Account("us", os.geteuid(), os.getegid(), switch=False)


def machines(folder: Path, *, device: Path, architecture: str = "amd64", **settings: int) -> QemuTestbed:
    host = QemuHost.model_validate({"name": "vm", **settings})
    images = TreeCache(folder, ours(), 86400, ImageRecipe(host.disk))
    return QemuTestbed(host, ours(), images, Kvm(folder, ours(), device), architecture, None)


def test_the_emulator_understands_the_machine(tmp_path: Path) -> None:
    config = tmp_path / "machine.cfg"
    config.write_text(machine_config(AMD64))
    command = ["qemu-system-x86_64", "-readconfig", str(config), "-cpu", "max", "-nographic"]
    # it gets as far as the kernel, which is not there
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "could not open kernel file" in done.stderr
    assert "/tree/kernel" in done.stderr


def test_an_architecture_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LastingTestbedError, match="architecture s390x are not supported; amd64, arm64 are"):
        kind_of("s390x")
    problem = machines(tmp_path, device=tmp_path / "kvm", architecture="s390x").problems()[0]
    assert "s390x" in problem.what
    assert problem.mend


def test_a_test_for_another_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LastingTestbedError, match="architecture amd64 only") as caught:
        machines(tmp_path, device=tmp_path / "kvm").prepare("sid", "arm64", lambda _: None, lambda: False)
    assert 'architectures = ["amd64"]' in caught.value.resolution


def test_big_machines_are_bigger_and_more_than_there_is_is_a_problem(tmp_path: Path) -> None:
    found = machines(tmp_path, device=tmp_path / "kvm", memory=2_000_000_000)
    assert any("slots, memory" in problem.mend for problem in found.problems())
    usual, big = (
        found._machine(big=False),
        found._machine(big=True),
    )
    assert {"--cpus=1", "--ram-size=2000000000"} <= set(usual)
    assert {"--cpus=2", "--ram-size=4096"} <= set(big)


def test_images_of_another_size_or_kernel_are_others(tmp_path: Path) -> None:
    shapes = ((20, ""), (40, ""), (20, "linux-image-6.1"), (20, "linux-2"))
    caches = [TreeCache(tmp_path, ours(), 86400, ImageRecipe(*shape)) for shape in shapes]
    assert [cache.path("sid", "amd64").name for cache in caches] == [
        "sid-amd64-20G.vm",
        "sid-amd64-40G.vm",
        "sid-amd64-20G-linux-image-6.1.vm",
        "sid-amd64-20G-linux-2.vm",
    ]


def test_without_the_device_processors_are_emulated(tmp_path: Path) -> None:
    found = machines(tmp_path, device=tmp_path / "nosuch")
    assert found.name == "qemu/tcg"
    strict = machines(tmp_path, device=tmp_path / "nosuch", emulate=False)
    (problem,) = (problem for problem in strict.problems() if "KVM" in problem.what)
    assert problem.what == f"no KVM: there is no {tmp_path}/nosuch"


def test_a_device_alone_proves_nothing(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    device.touch()
    kvm = Kvm(tmp_path, ours(), device)
    assert kvm.known is None
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"no kernel")
    began = time.monotonic()
    said = kvm.problem(kernel, AMD64, lambda: False)
    assert said.startswith("it booted no kernel: ")
    assert time.monotonic() - began < 12
    kept = json.loads((tmp_path / "kvm.json").read_text())
    assert kept["problem"] == said == kvm.known == Kvm(tmp_path, ours(), device).known


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The emulators that were started, and other commands; they do run."""
    found: list[str] = []
    run = process.run

    def noted(command: Sequence[str], **more: Any) -> str:
        found.append(next((word for word in command if word.startswith("qemu-system-")), "another"))
        return run(command, **more)

    monkeypatch.setattr(process, "run", noted)
    return found


def test_its_name_and_its_problems_boot_nothing(tmp_path: Path, programs: list[str]) -> None:
    device, kernel = tmp_path / "kvm", tmp_path / "sid-amd64-20G.vm" / "kernel"
    device.touch()
    kernel.parent.mkdir()
    kernel.write_bytes(b"no kernel")
    found = machines(tmp_path, device=device, emulate=False)
    assert (found.name, programs) == ("qemu", [])
    assert not [problem for problem in found.problems() if "KVM" in problem.what]
    assert "qemu-system-x86_64" not in programs
    said = found.kvm.problem(kernel, AMD64, lambda: False)
    assert programs.count("qemu-system-x86_64") == 1
    (problem,) = (problem for problem in found.problems() if "KVM" in problem.what)
    assert problem.what == f"no KVM: {said}"
    programs.clear()
    assert (found.name, machines(tmp_path, device=device).name, programs) == ("qemu/tcg", "qemu/tcg", [])


def test_until_it_is_known_limits_are_those_of_emulated_machines() -> None:
    unknown, emulated = (limits_for(Timeouts(), "amd64", set(), kind) for kind in ("qemu", "qemu/tcg"))
    assert unknown == emulated


def test_of_several_that_ask_at_once_one_tries(tmp_path: Path, programs: list[str]) -> None:
    device, kernel = tmp_path / "kvm", tmp_path / "kernel"
    device.touch()
    kernel.write_bytes(b"no kernel")
    asked = [Kvm(tmp_path, ours(), device) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        said = set(pool.map(lambda kvm: kvm.problem(kernel, AMD64, lambda: False), asked))
    assert len(said) == 1
    assert programs.count("qemu-system-x86_64") == 1


def test_what_was_found_holds_until_the_next_boot(tmp_path: Path) -> None:
    device, kernel = tmp_path / "kvm", tmp_path / "kernel"
    device.touch()
    kernel.write_bytes(b"no kernel")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kvm = Kvm(tmp_path, ours(), device)
    for kept, known in (
        ({"boot": boot, "problem": "", "at": 0.0}, True),
        ({"boot": boot, "problem": "busy", "at": time.time()}, True),
        ({"boot": boot, "problem": "busy", "at": time.time() - 7200}, False),
        ({"boot": "another", "problem": "", "at": time.time()}, False),
        ("no object", False),
    ):
        (tmp_path / "kvm.json").write_text(json.dumps(kept))
        answer = kvm.problem(kernel, AMD64, lambda: False)
        assert answer.startswith("it booted no kernel: ") == (not known), kept

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Testbeds on a machine with more than one address and a name server on loopback only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration import machine
from tests.trees import machine_tree

REPOSITORY = Path(__file__).parents[2]
#: What a testbed asks for names there; it must lead to port 53 only.
FORWARDED = "169.254.53.53"


@pytest.fixture(scope="module", params=["unshare", "chroot"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    machine_tree()  # that machine reaches no archive
    return look_at(tmp_path_factory.mktemp("machine"), request.param, FORWARDED)


def look_at(folder: Path, kind: str, *targets: str) -> dict[str, Any]:
    """What machine.py prints for a kind of testbed, and these addresses beside its own."""
    for parent in (folder, folder.parent):
        parent.chmod(0o711)
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    orders = [str(folder), str(resolv_conf), kind, *targets]
    command = [sys.executable, "-m", "tests.integration.machine", *orders]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["unshare", "--net", "--mount", *command],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def addresses() -> list[str]:
    others = [address.partition("/")[0] for _, address in (*machine.ADDRESSES, *machine.OTHERS)]
    return [*machine.LOOPBACKS, *others, "fe80::99%up0"]


@pytest.mark.root
def test_no_packet_of_a_testbed_arrives_at_any_address_of_its_machine(found: dict[str, Any]) -> None:
    assert found["heard_inside"] == [], found["inside"]
    tried = [line for line in found["inside"].splitlines() if line.startswith(("closed ", "open "))]
    assert [line for line in tried if line.startswith("open ")] == [], found["inside"]
    for kind in ("tcp", "udp"):
        for address in (*addresses(), FORWARDED):
            name = f"closed {kind} {address} {machine.PORT}"
            assert {name, f"{name} bound"} <= set(tried), found["inside"]


@pytest.mark.root
def test_the_same_attempts_work_outside(found: dict[str, Any]) -> None:
    assert found["heard_outside"] == sorted(f"{kind} {a}" for kind in ("tcp", "udp") for a in addresses())
    lines = found["outside"].splitlines()
    for kind in ("tcp", "udp"):
        assert {f"open {kind} {a} {machine.PORT}" for a in addresses()} <= set(lines), found["outside"]
        # past the routing table, on the one way that the machine has to its own interface
        assert f"open {kind} 192.0.2.2 {machine.PORT} bound" in lines


@pytest.mark.root
def test_a_name_server_on_loopback_answers_a_testbed(found: dict[str, Any]) -> None:
    answer = f"resolved {machine.NAME} {machine.ANSWER}"
    assert answer in found["outside"]
    assert answer in found["inside"], found["inside"]

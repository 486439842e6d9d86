# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real virtual machine; takes minutes where processors are emulated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration import machine
from tests.integration.test_testbed_network import look_at
from tests.testbeds import prepared, ran

pytestmark = [pytest.mark.long, pytest.mark.root, pytest.mark.timeout(1200)]

#: What a guest takes for the machine that it runs on.
GATEWAY = "10.0.2.2"


def test_a_package_is_tested_in_a_machine_that_reaches_the_archive(tmp_path: Path) -> None:
    testbed = machine.testbed_of("qemu")
    assert testbed.problems() == ()
    assert testbed.vm
    exit_code, said = ran(testbed, tmp_path, "ty-fail", "--apt-upgrade")
    assert exit_code == 4, said
    assert re.search(r"^good +PASS$", said, re.MULTILINE), said
    # its own kernel, and the one that the image was made with
    kernel = re.search(r"testbed running kernel: Linux (\S+)", said)
    assert kernel
    assert kernel[1] != Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert testbed.name in ("qemu/tcg", "qemu/kvm")


def test_no_packet_of_a_machine_arrives_at_any_address_of_ours(tmp_path: Path) -> None:
    prepared(machine.testbed_of("qemu"))
    found = look_at(tmp_path, "qemu", GATEWAY)
    assert found["heard_inside"] == [], found["inside"]
    tried = re.findall(r"^(open|closed) (tcp|udp) (\S+) \d+$", found["inside"], re.MULTILINE)
    assert {address for _, _, address in tried} >= {GATEWAY, "127.0.0.1", "192.0.2.2", "198.51.100.9"}
    assert {word for word, _, _ in tried} == {"closed"}, found["inside"]
    # the same attempts work outside, so the above proves something
    assert {"tcp 192.0.2.2", "udp 192.0.2.2", "tcp 127.0.0.1", "udp 127.0.0.1"} <= set(found["heard_outside"])

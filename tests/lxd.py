# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real LXD for tests, as a machine of its own: in network, mount and PID namespaces that end with it.

Its bridge, its name server and its packet filter are in there. A way out is made as for testbeds, by
pasta, which also leads from a port on this machine's loopback to the server's own loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.system import PACKAGES, TREES
from tests.trees import account
from testyard.hosts import LxdHost
from testyard.local.machine import machine_architecture, machine_release
from testyard.local.ports import free_ports
from testyard.settings import Worker
from worker.testbed.lxd import LxdTestbed, lxd_testbed
from worker.testbed.owners import Owners

BRIDGE = "10.99.77.1"
#: A second address of that machine; the first is this machine's own, which pasta copies.
SECOND = "198.51.100.9"
#: Afterwards /sys is that of the network namespace, where LXD looks for its bridge.
_DAEMON = """\
mkdir "$LXD_DIR/cg"; mount --rbind /sys/fs/cgroup "$LXD_DIR/cg"; mount -t sysfs sysfs /sys
mount --rbind "$LXD_DIR/cg" /sys/fs/cgroup; umount -l "$LXD_DIR/cg"; rmdir "$LXD_DIR/cg"
exec lxd --group lxd
"""
_PRESEED = """\
config: {core.https_address: "127.0.0.1:8443"}
storage_pools: [{name: default, driver: dir}]
"""
#: pasta of 2023 sends packets without any flag, to which the kernel answers with a reset.
_FLAGLESS = (
    "add table inet way",
    "add chain inet way first { type filter hook prerouting priority -300 ; }",
    "add rule inet way first tcp flags & (fin|syn|rst|psh|ack|urg) == 0 drop",
)


@dataclass(frozen=True)
class Lxd:
    """A running server."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """By its socket."""
        return f"unix:{self.folder / 'lxd' / 'unix.socket'}"

    @property
    def url(self) -> str:
        """By network."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What `lxc` needs."""
        client = {"LXD_DIR": str(self.folder / "lxd"), "LXD_CONF": str(self.folder / "client")}
        return {**os.environ, **client}

    def lxc(self, *words: str, stdin: str | None = None) -> str:
        """Call it as an operator would."""
        done = subprocess.run(
            ["lxc", *words], env=self.environment, input=stdin or "",
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def ask(self, path: str) -> Any:
        """What the server says of something."""
        return json.loads(self.lxc("query", path))

    def instances(self) -> dict[str, dict[str, str]]:
        """Each with its configuration."""
        found = self.ask("/1.0/instances?recursion=1") or []
        return {row["name"]: row["config"] for row in found}

    def inside(self, *words: str) -> list[str]:
        """A command in the server's network."""
        return ["nsenter", f"--net={self.folder / 'net'}", *words]

    def testbed(
        self, work: Path, *, name: str = "lxd-1", worker: str = "worker-1", processes: int = 4096,
        owners: Owners | None = None, **more: Any,
    ) -> LxdTestbed:  # fmt: skip
        """A testbed of a worker whose folder is ``work``; with ``owners``, after a reload of it."""
        settings = Worker(
            name=worker, work_dir=work, tree_dir=TREES, source_dir=PACKAGES, testbed_user=account().name,
            max_processes=processes,
        )  # fmt: skip
        known = {"address": self.address, "subnet": f"{BRIDGE}/24", "slots": 2, **more}
        known |= {"architectures": (machine_architecture(),), "releases": (machine_release(),), **more}
        return lxd_testbed(LxdHost(name=name, **known), settings, account(), owners or Owners())

    @contextmanager
    def listening(self, *addresses: str) -> Iterator[subprocess.Popen[str]]:
        """Something that listens on that machine (tests/integration/listener.py)."""
        command = self.inside(sys.executable, "-m", "tests.integration.listener", *addresses)
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen(
            command, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()
            child.wait()


@contextmanager
def lxd_server() -> Iterator[Lxd]:
    """One that has nothing but a storage pool; nothing of it is left afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a LXD of its own")
    if not shutil.which("lxd"):
        pytest.skip("needs Debian's lxd: scripts/setup test")
    with ExitStack() as stack:
        # not below pytest's own folder, which containers' users may not pass
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="testyard-lxd-")))
        for place in (folder, folder / "lxd", folder / "client"):
            place.mkdir(exist_ok=True)
            place.chmod(0o711)
        lxd, namespace = Lxd(folder, free_ports(1)[0]), folder / "net"
        namespace.touch()
        subprocess.run(["unshare", f"--net={namespace}", "ip", "link", "set", "lo", "up"], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", namespace], check=True)
        _start(stack, _pasta(lxd), folder / "pasta.log", {})
        _ip(lxd, "link", "add", "second", "type", "bridge")
        _ip(lxd, "address", "add", f"{SECOND}/24", "dev", "second")
        _ip(lxd, "link", "set", "second", "up")
        for rule in _FLAGLESS:
            subprocess.run(lxd.inside("nft", rule), check=True)
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        daemon = lxd.inside(*namespaces, "sh", "-ec", _DAEMON)
        _start(stack, daemon, folder / "lxd.log", lxd.environment)
        subprocess.run(["lxd", "waitready", "--timeout=60"], env=lxd.environment, check=True)
        subprocess.run(
            ["lxd", "init", "--preseed"], env=lxd.environment, input=_PRESEED, text=True, check=True
        )
        try:
            yield lxd
        finally:
            for name in lxd.instances():
                lxd.lxc("delete", "--force", name)


def _pasta(lxd: Lxd) -> list[str]:
    ports = ("-t", f"127.0.0.1/{lxd.port}:8443", "-u", "none", "-T", "none", "-U", "none")
    # what it gives to the namespace is 64 KiB otherwise, which a bridge cannot pass on
    return [
        *("pasta", "--runas", "0:0", "--config-net", "--no-map-gw", "--mtu", "1500", *ports),
        *("--netns", str(lxd.folder / "net"), "--foreground", "--quiet"),
    ]


def _start(stack: ExitStack, command: list[str], log: Path, environment: dict[str, str]) -> None:
    with log.open("w") as file:
        child = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    stack.callback(child.wait)
    stack.callback(child.kill)


def _ip(lxd: Lxd, *words: str) -> None:
    subprocess.run(lxd.inside("ip", *words), check=True)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Containers and virtual machines of a LXD server, by autopkgtest's lxd runner.

No code of a test's runs here. What comes from an instance is only data, but autopkgtest unpacks it: so it
runs as an unprivileged account, in a file system of its own (`worker.testbed.sandbox`), in which there is
nothing but the way to the server.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pylxd

from testyard.errors import LastingTestbedError, TestbedError
from testyard.hosts import LxdHost
from testyard.settings import Worker
from worker import process
from worker.testbed.account import Account
from worker.testbed.base import Command, PlainProcess, Problem, Process, Workspace
from worker.testbed.fitness import missing_programs, user_namespaces
from worker.testbed.lxd_fence import Fence
from worker.testbed.lxd_images import ARCHITECTURES, ContainerRecipe, LxdImages
from worker.testbed.lxd_owner import Owner, remove_run
from worker.testbed.lxd_server import REMOTE, LxdServer
from worker.testbed.owners import Owners, owner_name
from worker.testbed.sandbox import Inside, autopkgtest, local_sources, make_box, start_inside
from worker.testbed.tree import TreeCache

log = logging.getLogger(__name__)

#: Seconds for an answer while only problems are looked for.
_SOON = 4.0
#: Processes and threads of a container beside a run's own: systemd and its services, autopkgtest's commands.
#: Debian 12's has 12.
_OF_THE_SYSTEM = 100
#: Status of an instance's name option, in autopkgtest newer than Debian 12's.
_NAME = "--name"
_PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "lxc": "lxd-client",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "openssl": "openssl",
    "setpriv": "util-linux",
}
#: The kernel runs foreign programs by these names; Debian's name of the architecture → its.
_EMULATORS = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armhf": "arm",
    "i386": "i386",
    "ppc64el": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
#: Machine → architectures whose programs its processor runs.
_NATIVE = {
    "x86_64": ("amd64", "i386"),
    "aarch64": ("arm64", "armhf"),
    "ppc64le": ("ppc64el",),
    "riscv64": ("riscv64",),
    "s390x": ("s390x",),
}


class LxdProcess:
    """A run; its instance lives on the server, so it is ended there, too."""

    def __init__(self, run: Process, server: LxdServer, owned: Owner, token: str) -> None:
        self._run = run
        self._server = server
        self._owner = owned
        self._token = token
        self._killed = False
        self.output = run.output

    def wait(self) -> int:
        """See `Process`."""
        try:
            return self._run.wait()
        finally:
            try:
                self._remove()
            finally:
                self._owner.end(self._token)

    def kill(self) -> None:
        """See `Process`."""
        self._killed = True
        self._run.kill()

    def _remove(self) -> None:
        try:
            with self._server.session() as client:
                remove_run(client, self._token, killed=self._killed)
        except TestbedError as error:  # the next `tidy` will
            log.warning("host %s may still have a run's instance: %s", self._server.host.name, error.brief)


@dataclass(frozen=True)
class LxdTestbed:
    """See `worker.testbed.base.Testbed`."""

    host: LxdHost
    server: LxdServer
    images: LxdImages
    fence: Fence
    owner: Owner
    source_dir: Path | None
    max_processes: int
    name: str = "lxd"
    disposable: bool = True

    @property
    def vm(self) -> bool:
        """See `Testbed`."""
        return bool(self.host.vm_image)

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        found = (*missing_programs(_PROGRAMS), *user_namespaces(self.server.account))
        if found:
            return found
        try:
            self.server.client_group()
            with self.server.session(_SOON) as client:
                return (*_of_server(client, self.host), *self._of_images(client))
        except TestbedError as error:
            brief = "; ".join(line for line in (error.brief, error.details) if line)
            return (Problem(brief, error.resolution),)

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`."""
        with self.server.session() as client:
            self.owner.tidy(client, note)
            self.images.tidy(client, note)

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`."""
        with self.server.session() as client:
            pool = _pool(client, self.host)
            self.fence.ensure(client)
        if pool == "dir":
            note(f"storage pool {self.host.pool} is a folder, which may not limit the testbed's disk")
        self.images.ensure(release, architecture, note, cancelled)

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        account = replace(self.server.account, group=self.server.client_group())
        box = make_box(account, workspace)
        folder, place = self.server.client_folder(box)
        sources = local_sources(self.source_dir, command)
        token, marks = self.owner.begin(self.server)
        try:
            words = autopkgtest(command, sources, "lxd", *self._runner(command, token), *marks)
            inside = Inside(("env", f"LXD_CONF={place}", *words), "client", folder, sources)
            run: PlainProcess = start_inside(account, box, inside, cancelled)
        except BaseException:
            self.owner.end(token)
            raise
        return LxdProcess(run, self.server, self.owner, token)

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.server.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.server.account.remove_tree(workspace.folder)

    def _runner(self, command: Command, token: str) -> tuple[str, ...]:
        """The runner's words, and after the image those for `lxc launch`."""
        host, vm = self.host, command.vm and self.vm
        small = (host.cpus, host.memory, host.disk)
        cpus, memory, disk = (host.big_cpus, host.big_memory, host.big_disk) if command.big else small
        profiles = (*host.profiles, self.fence.profile)
        # of a virtual machine's processes the server knows nothing, and refuses the key
        most = () if vm else ("-c", f"limits.processes={self.max_processes + _OF_THE_SYSTEM}")
        named = (_NAME, f"testyard-{token}") if _knows_names() else ()
        return (
            *("-r", REMOTE),
            *(("--vm",) if vm else ()),
            *named,
            f"{REMOTE}:{self.images.alias(command.release, command.architecture, vm=vm)}",
            *(word for profile in profiles for word in ("-p", profile)),
            *("-c", f"limits.cpu={cpus}", "-c", f"limits.memory={memory}MiB", *most),
            *("-d", f"root,size={disk}GiB"),
        )

    def _of_images(self, client: pylxd.Client) -> tuple[Problem, ...]:
        """Whether there are images, or can be made."""
        if missing := self.images.missing(client):
            mend = f"make them, or unset `image` of host {self.host.name}: then the worker makes its own"
            return (Problem(f"LXD {self.host.address} has no image {', '.join(missing)}", mend),)
        found = []
        for architecture in () if self.host.image else self.host.architectures:
            native = _NATIVE.get(platform.machine(), ())
            handler = Path("/proc/sys/fs/binfmt_misc") / f"qemu-{_EMULATORS.get(architecture, '')}"
            if architecture not in native and not handler.exists():
                mend = "apt-get install qemu-user-static; or name an image of another's making: `image`"
                found.append(Problem(f"this machine cannot make images for {architecture}", mend))
        return tuple(found)


def lxd_testbed(host: LxdHost, settings: Worker, account: Account, owners: Owners) -> LxdTestbed:
    """The testbed of a host. Raises TestbedError."""
    folder = settings.work_dir / "lxd" / host.name
    server = LxdServer(host, folder, account)
    trees = TreeCache(settings.tree_dir, account, settings.tree_max_age, ContainerRecipe())
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owned = owners.kept(Owner(owner_name(settings.work_dir, host.name, settings.name)))
    except OSError as error:
        raise LastingTestbedError(
            f"the worker's folder cannot be written to: {error.strerror}",
            resolution="See to worker.work_dir.",
        ) from error
    images = LxdImages(host, server, trees)
    return LxdTestbed(host, server, images, Fence(host), owned, settings.source_dir, settings.max_processes)


def _of_server(client: pylxd.Client, host: LxdHost) -> tuple[Problem, ...]:
    """What the server lacks."""
    found = []
    environment = client.host_info["environment"]
    where = f"LXD {host.address}"
    if client.server_clustered:
        found.append(Problem(f"{where} is a cluster", "name single servers as hosts"))
    for name in host.architectures:
        if ARCHITECTURES.get(name, name) not in environment["architectures"]:
            runs = ", ".join(environment["architectures"])
            found.append(Problem(f"{where} cannot run {name}; {runs} it can", "see to `architectures`"))
    try:
        _pool(client, host)
    except LastingTestbedError as error:
        found.append(Problem(error.brief, error.resolution))
    said = [
        row
        for row in client.api.warnings.get(params={"recursion": 1}).json()["metadata"] or ()
        if row["status"] != "resolved"
    ]
    for row in said:
        if row["type"] == "Network unavailable on server":
            found.append(
                Problem(f"{where}: network: {row['last_message']}", "apt-get install dnsmasq-base nftables")
            )
    if host.vm_image and "qemu" not in environment["driver"]:
        reasons = [row["last_message"] for row in said if row["type"] == "Instance type not operational"]
        why = "; ".join(reasons) or "no reason given"
        mend = "see to that, or unset `vm_image`: then it has containers only"
        found.append(Problem(f"{where} has no virtual machines: {why}", mend))
    return tuple(found)


def _pool(client: pylxd.Client, host: LxdHost) -> str:
    """The storage pool's driver. Raises LastingTestbedError if there is no such pool."""
    pools = {
        row["name"]: str(row["driver"])
        for row in client.api["storage-pools"].get(params={"recursion": 1}).json()["metadata"] or ()
    }
    if host.pool not in pools:
        raise LastingTestbedError(
            f"LXD {host.address} has no storage pool {host.pool}",
            resolution=f"There: lxc storage create {host.pool} dir; or name one in `pool`: "
            f"{', '.join(pools) or 'there is none'}",
        )
    return pools[host.pool]


def _knows_names() -> bool:
    """True if autopkgtest's runner lets us name instances; Debian 12's does not."""
    return _NAME in process.run(["autopkgtest-virt-lxd", "--help"])

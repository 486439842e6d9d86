# SPDX-License-Identifier: AGPL-3.0-or-later
"""Virtual machines, by autopkgtest's qemu runner.

The emulator runs as an unprivileged account in the same namespaces as the default testbed: what a guest
takes for its host (10.0.2.2) is the loopback of a network namespace in which nothing else listens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testyard.errors import LastingTestbedError
from testyard.hosts import QemuHost
from worker.testbed import image
from worker.testbed.account import Account
from worker.testbed.base import PYTHON, Command, Problem, Process, Workspace
from worker.testbed.fitness import missing_programs, tun_device, user_namespaces
from worker.testbed.kvm import Kvm
from worker.testbed.sandbox import Inside, autopkgtest, local_sources, make_box, start_inside
from worker.testbed.tree import TreeCache

#: Without KVM, the runner's own limits are this many times as long. What a test may take is in
#: `worker.limits`.
_SLOWER = 10
_RUNNER = Path(__file__).with_name("qemu_runner.py")
_PROGRAMS = {
    "autopkgtest": "autopkgtest",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "pasta": "passt",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
}
_EMULATORS = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}


@dataclass(frozen=True)
class QemuTestbed:
    """See `worker.testbed.base.Testbed`. ``architecture`` is this machine's."""

    host: QemuHost
    account: Account
    images: TreeCache
    kvm: Kvm
    architecture: str
    source_dir: Path | None
    disposable: bool = True
    vm: bool = True

    @property
    def name(self) -> str:
        """See `Testbed`; says how processors are made, once a run has found that out."""
        problem = self.kvm.known
        if problem is None:
            return "qemu"
        return "qemu/tcg" if problem else "qemu/kvm"

    def problems(self) -> tuple[Problem, ...]:
        """See `Testbed`."""
        try:
            emulator = f"qemu-system-{image.kind_of(self.architecture).emulator}"
        except LastingTestbedError as error:
            return (Problem(error.brief, error.resolution),)
        programs = {**_PROGRAMS, emulator: _EMULATORS[self.architecture]}
        found = (*missing_programs(programs), *user_namespaces(self.account), *tun_device(), *self._memory())
        if found or self.host.emulate:
            return found
        reason = self.kvm.barred() or self.kvm.known
        mend = "let KVM boot guests, or set emulate = true for this host: tests take about ten times as long"
        return (Problem(f"no KVM: {reason}", mend),) if reason else ()

    def tidy(self, note: Callable[[str], None]) -> None:
        """See `Testbed`; its machines end with the worker, and its folders are the worker's."""

    def prepare(
        self, release: str, architecture: str, note: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> None:
        """See `Testbed`."""
        if architecture != self.architecture:
            raise LastingTestbedError(
                f"host {self.host.name} has virtual machines of architecture {self.architecture} only",
                resolution=f'Set architectures = ["{self.architecture}"] for this host in worker.hosts.',
            )
        if not self.images.fresh(release, architecture):
            note(f"making an image for {release} {architecture}; this takes 40 s to 2 minutes, once a day")
        kernel = self.images.get(release, architecture, cancelled) / image.KERNEL
        if reason := self.kvm.problem(kernel, image.kind_of(architecture), cancelled):
            if not self.host.emulate:
                raise LastingTestbedError(
                    f"no KVM: {reason}", resolution="Set emulate = true for this host if it may take longer."
                )
            note(f"no KVM: {reason}; processors are emulated, and all limits are longer")

    def start(
        self,
        workspace: Workspace,
        command: Command,
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Process:
        """See `Testbed`."""
        box = make_box(self.account, workspace)
        emulated = self.kvm.known != ""
        (box / _RUNNER.name).write_text(f"#!{PYTHON[0]}\n{_RUNNER.read_text()}")
        (box / _RUNNER.name).chmod(0o755)
        sources = local_sources(self.source_dir, command)
        runner = (f"/work/{_RUNNER.name}", str(_SLOWER if emulated else 1))
        inside = Inside(
            autopkgtest(command, sources, *runner, *self._machine(big=command.big)),
            stage="sandbox" if emulated else "kvm",
            # the folder itself, not the link to it: that may lead elsewhere tomorrow
            tree=self.images.path(command.release, command.architecture).resolve(),
            sources=sources,
        )
        return start_inside(self.account, box, inside, cancelled)

    def empty(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.out.parent)

    def remove(self, workspace: Workspace) -> None:
        """See `Testbed`."""
        self.account.remove_tree(workspace.folder)

    def _machine(self, *, big: bool) -> tuple[str, ...]:
        cpus, memory = (
            (self.host.big_cpus, self.host.big_memory) if big else (self.host.cpus, self.host.memory)
        )
        return (
            "--boot=none",
            f"--dpkg-architecture={self.architecture}",
            f"--cpus={cpus}",
            f"--ram-size={memory}",
            f"--qemu-options=-readconfig {image.PLACE / image.MACHINE} -cpu max",
            str(image.PLACE / image.DISK),
        )

    def _memory(self) -> tuple[Problem, ...]:
        has = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
        if self.host.slots * self.host.memory <= has and self.host.big_memory <= has:
            return ()
        wanted = f"{self.host.slots} slots of {self.host.memory} MiB, big ones of {self.host.big_memory} MiB"
        return (Problem(f"{wanted}: this machine has {has} MiB", "lower slots, memory or big_memory"),)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of the hosts that a worker runs tests on: one class for each kind of testbed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from testyard.queue import QueueName
from testyard.section import Section


class Host(Section):
    """What every kind has. Empty ``architectures`` or ``releases``: all of the topology."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9.-]{0,60}$", description="its name in results and commands")
    slots: int = Field(default=1, ge=1, le=1000, description="runs at the same time")
    architectures: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()

    def serves(self, queue: QueueName) -> bool:
        """True if tests of this queue may run there."""
        return queue.architecture in (self.architectures or (queue.architecture,)) and queue.release in (
            self.releases or (queue.release,)
        )


class UnshareHost(Host):
    """The worker's machine, tests in namespaces of their own."""

    testbed: Literal["unshare"] = "unshare"


class NullHost(Host):
    """The worker's machine itself, unprotected."""

    testbed: Literal["null"] = "null"


class ChrootHost(Host):
    """The worker's machine, as with `unshare`, by autopkgtest's chroot runner."""

    testbed: Literal["chroot"] = "chroot"


class SshHost(Host):
    """A machine that is reached by ssh; tests run on it as ``user``, or as root by sudo."""

    testbed: Literal["ssh"] = "ssh"
    address: str = Field(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]*$", description="its name or address")
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(
        default="root",
        pattern=r"^[a-z_][a-z0-9_.-]*$",
        description="who logs in; root, or somebody with sudo without a password",
    )
    identity: Path = Field(description="file of a private key without a passphrase")
    known_hosts: Path = Field(description="file that has the host's key, as ssh's known_hosts")
    capabilities: tuple[Literal["isolation-machine", "isolation-container", "reboot"], ...] = Field(
        default=(), description="what tests may do there"
    )
    reset: tuple[str, ...] = Field(
        default=(), description="program and arguments that bring it back to a clean state before each run"
    )
    reset_timeout: int = Field(
        default=600, ge=1, description="seconds for that, and again until it answers afterwards"
    )

    @model_validator(mode="after")
    def _one_at_a_time(self) -> SshHost:
        if self.reset and self.slots > 1:
            raise ValueError("slots must be 1 where reset is set: it would end the other runs")
        return self


class QemuHost(Host):
    """The worker's machine, tests in virtual machines of its architecture."""

    testbed: Literal["qemu"] = "qemu"
    emulate: bool = Field(default=True, description="where KVM boots no guest: true, emulate processors")
    cpus: int = Field(default=1, ge=1, le=256)
    memory: int = Field(default=1536, ge=512, description="MiB")
    big_cpus: int = Field(default=2, ge=1, le=256, description="for packages on the list big_packages")
    big_memory: int = Field(default=4096, ge=512, description="MiB, for packages on the list big_packages")
    disk: int = Field(default=20, ge=4, description="GiB; takes only what is written")
    kernel: str = Field(
        default="",
        pattern="^([a-z0-9][a-z0-9+.-]+)?$",
        description="package of a kernel with 9p; empty: linux-image-ARCHITECTURE",
    )


#: A host of any kind; ``testbed`` tells which.
AnyHost = Annotated[UnshareHost | NullHost | ChrootHost | SshHost | QemuHost, Field(discriminator="testbed")]

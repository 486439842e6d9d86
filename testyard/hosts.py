# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of the hosts that a worker runs tests on: one class for each kind of testbed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from testyard.queue import QueueName
from testyard.section import Section


def only_known_parts(name: str) -> str:
    """An image's name or alias. Raises ValueError if it has other parts in braces than are filled in."""
    left = name.replace("{release}", "").replace("{architecture}", "")
    if "{" in left or "}" in left or name.startswith("-"):
        raise ValueError("must be a name; {release} and {architecture} may be in it")
    return name


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
        if self.slots > 1:
            # /tmp/autopkgtest_script_pid: of two that begin at once, one hangs until its time is up
            raise ValueError("slots must be 1: autopkgtest has one name in /tmp for all runs of a machine")
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


class LxdHost(Host):
    """A LXD server, on this machine or another: tests in its containers, and in its virtual machines."""

    testbed: Literal["lxd"] = "lxd"
    address: str = Field(
        default="local",
        pattern=r"^(local|unix:/.+|https://[A-Za-z0-9.:\[\]-]+:[0-9]{1,5})$",
        description="local, or unix: and a socket's path, or https://name:8443",
    )
    fingerprint: str = Field(
        default="",
        pattern="^([0-9a-f]{64})?$",
        description="of the server's certificate; empty: as the token says",
    )
    token: Path | None = Field(
        default=None, description="file with a token of `lxc config trust add`, for the first connection"
    )
    certificate: Path | None = Field(
        default=None, description="the worker's certificate for the server; without one it makes its own"
    )
    key: Path | None = Field(default=None, description="its private key")
    pool: str = Field(default="default", pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$", description="storage pool")
    subnet: str = Field(
        default="auto", pattern=r"^(auto|[0-9.]+/[0-9]+)$", description="address of the testbeds' bridge"
    )
    profiles: tuple[str, ...] = Field(default=(), description="applied before the worker's own profile")
    image: str = Field(
        default="",
        description="alias of others' images, with {release} and {architecture}; empty: the worker's own",
    )
    vm_image: str = Field(
        default="", description="the same for virtual machines; empty: the host has containers only"
    )
    cpus: int = Field(default=2, ge=1, le=256)
    memory: int = Field(default=4096, ge=256, description="MiB")
    disk: int = Field(default=20, ge=1, description="GiB, where the storage pool can limit it")
    big_cpus: int = Field(default=4, ge=1, le=256, description="for packages on the list big_packages")
    big_memory: int = Field(default=8192, ge=256, description="MiB, for packages on the list big_packages")
    big_disk: int = Field(default=100, ge=1, description="GiB, for packages on the list big_packages")

    _image_parts = field_validator("image", "vm_image")(only_known_parts)

    @model_validator(mode="after")
    def _both_or_none(self) -> LxdHost:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


class OpenStackHost(Host):
    """A project of an OpenStack cloud: each test in an instance of its own, that is deleted afterwards."""

    testbed: Literal["openstack"] = "openstack"
    cloud: str = Field(default="", description="entry of clouds.yaml; empty: the OS_* variables")
    region: str = Field(default="", description="empty: the entry's, or the only one")
    flavor: str = Field(min_length=1, description="name of the instances' flavor")
    big_flavor: str = Field(default="", description="for packages on the list big_packages; empty: flavor")
    image: str = Field(
        default="testyard/{release}/{architecture}",
        description="name of the image, with {release} and {architecture}; of several the newest",
    )
    network: str = Field(min_length=1, description="name or id of the network that instances are in")
    security_groups: tuple[str, ...] = Field(
        min_length=1, description="names or ids: ssh from this machine, and nowhere else of ours"
    )
    server_group: str = Field(default="", description="name or id of a group that spreads instances")
    keypair: str = Field(default="", description="of an operator who may look at instances, too")
    availability_zone: str = ""
    user: str = Field(
        default="root", pattern=r"^[a-z_][a-z0-9_.-]*$", description="who logs in; gets sudo if not root"
    )
    address_family: Literal[4, 6] = Field(default=4, description="of the address that is used")
    boot_timeout: int = Field(default=900, ge=10, description="seconds until an instance must be ready")
    quota_timeout: int = Field(
        default=3600, ge=0, description="seconds to wait while the project's quota is used up"
    )
    packages: tuple[str, ...] = Field(
        default=("dpkg-dev",), description="installed before the test, where the image does not have them"
    )
    user_data: Path | None = Field(default=None, description="file with more cloud-config for each instance")

    _image_parts = field_validator("image")(only_known_parts)


#: A host of any kind; ``testbed`` tells which.
AnyHost = Annotated[
    UnshareHost | NullHost | ChrootHost | SshHost | QemuHost | LxdHost | OpenStackHost,
    Field(discriminator="testbed"),
]

#: The kinds that need nothing but the worker's machine, by their names.
LOCAL_KINDS: Mapping[str, type[Host]] = MappingProxyType(
    {"unshare": UnshareHost, "chroot": ChrootHost, "qemu": QemuHost, "null": NullHost}
)

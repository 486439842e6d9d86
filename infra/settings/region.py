# SPDX-License-Identifier: AGPL-3.0-or-later
"""One OpenStack region: its network, and the machines that run tests there."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from pydantic import Field, model_validator

from infra.settings.base import Architecture, Label, RegionName, Release, Section, Uuid, reject_twice


class LxdHosts(Section):
    """Instances with LXD, whose containers are testbeds; all of one group are alike."""

    name: Label = Field(description="of the group; its hosts are NAME-1, NAME-2, …")
    count: int = Field(default=1, ge=0, le=200)
    slots: int = Field(default=3, ge=1, le=1000, description="tests at the same time, on each")
    architectures: tuple[Architecture, ...] = Field(default=(Architecture.ARMHF,), min_length=1)
    releases: tuple[Release, ...] = Field(default=(), description="whose images are built; none: all")
    flavor: Label = "lxd"
    same_host: Uuid | None = Field(default=None, description="instance beside which they are to stand")

    @model_validator(mode="after")
    def _check(self) -> LxdHosts:
        reject_twice("architectures", self.architectures)
        reject_twice("releases", self.releases)
        if len({each.machine for each in self.architectures}) > 1:
            raise ValueError(f"architectures: no machine runs all of {', '.join(self.architectures)}")
        return self

    @property
    def machine(self) -> Architecture:
        """The architecture of the instances."""
        return self.architectures[0].machine


class Workers(Section):
    """Instances with a worker each; all of one group are alike."""

    name: Label = Field(description="of the group; its workers are NAME-1, NAME-2, …")
    count: int = Field(default=1, ge=0, le=200)
    flavor: Label = "worker"
    machine: Architecture = Field(default=Architecture.AMD64, description="of the instances")
    testbed: Literal["unshare", "chroot", "qemu", "lxd"] = Field(
        default="unshare", description="lxd: the region's LXD hosts, shared out among the group"
    )
    slots: int = Field(default=2, ge=1, le=1000, description="tests at the same time; lxd: as the hosts say")
    architectures: tuple[Architecture, ...] = Field(
        default=(), description="none: the machine's own; lxd: the hosts'"
    )
    releases: tuple[Release, ...] = Field(default=(), description="none: all")
    contexts: tuple[str, ...] = Field(default=(), description="none: all")

    @model_validator(mode="after")
    def _check(self) -> Workers:
        for field in ("architectures", "releases", "contexts"):
            reject_twice(field, getattr(self, field))
        if self.machine.machine is not self.machine:
            raise ValueError(
                f"machine: no cloud has instances of {self.machine}; take {self.machine.machine}"
            )
        if self.testbed != "lxd" and (
            odd := [a for a in self.architectures if a.machine is not self.machine]
        ):
            raise ValueError(
                f"architectures: {self.machine} runs no tests of {', '.join(odd)} in {self.testbed}"
            )
        return self


class Region(Section):
    """One OpenStack region and what is asked of it."""

    name: RegionName = Field(description="OpenStack's name of the region")
    cloud: str | None = Field(default=None, description="entry of clouds.yaml; without it OS_* count")
    architectures: tuple[Architecture, ...] = Field(min_length=1, description="tested in this region")
    external_network: str = Field(min_length=1, description="name of the network that routers lead to")
    subnet: IPv4Network
    dns: tuple[IPv4Address, ...] = Field(default=(), description="none: what the cloud's DHCP hands out")
    images: dict[Architecture, str] = Field(
        default_factory=dict, description="architecture = name, where it is not as images.base says"
    )
    lxd: tuple[LxdHosts, ...] | None = Field(
        default=None, description="none given: one host for armhf, if that is tested here"
    )
    workers: tuple[Workers, ...] | None = Field(
        default=None, description="none given: one for each kind of machine, and one for the LXD hosts"
    )

    @model_validator(mode="after")
    def _check(self) -> Region:
        reject_twice("architectures", self.architectures)
        reject_twice("lxd: name", (group.name for group in self.lxd_hosts))
        reject_twice("workers: name", (group.name for group in self.worker_groups))
        return self

    @property
    def lxd_hosts(self) -> tuple[LxdHosts, ...]:
        """The groups of LXD hosts, given or by default."""
        if self.lxd is not None:
            return self.lxd
        return (LxdHosts(name="armhf"),) if Architecture.ARMHF in self.architectures else ()

    @property
    def worker_groups(self) -> tuple[Workers, ...]:
        """The groups of workers, given or by default."""
        if self.workers is not None:
            return self.workers
        by_lxd = {each for group in self.lxd_hosts for each in group.architectures}
        own = [each for each in self.architectures if each not in by_lxd]
        machines = dict.fromkeys(each.machine for each in own)
        groups = [
            Workers(
                name=machine, machine=machine, architectures=tuple(a for a in own if a.machine is machine)
            )
            for machine in machines
        ]
        if self.lxd_hosts:
            groups.append(Workers(name="lxd", machine=self.lxd_hosts[0].machine, testbed="lxd"))
        return tuple(groups)

    @property
    def machines(self) -> tuple[Architecture, ...]:
        """The kinds of instances that tests of its architectures run in, or on."""
        return tuple(dict.fromkeys(each.machine for each in self.architectures))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What follows from the settings: addresses, groups by default, names of flavors and images."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import Architecture, Region, Settings, addresses, load_settings
from infra.settings.needs import flavors, uses
from infra.settings.services import MOST_NODES
from infra.settings.sizes import Flavors


@given(st.integers(16, addresses.LONGEST_PREFIX), st.integers(0, 255))
def test_no_two_have_the_same_address(prefix: int, third: int) -> None:
    subnet = IPv4Network((f"10.{third}.0.0", prefix))
    fixed = [
        *addresses.broker(subnet, 3),
        addresses.database(subnet),
        addresses.balancer(subnet),
        *addresses.functions(subnet, MOST_NODES),
        *addresses.web(subnet, MOST_NODES),
    ]
    first, last = addresses.pool(subnet)
    assert len(set(fixed)) == len(fixed)
    assert subnet[1] < min(fixed) <= max(fixed) < first < last < subnet.broadcast_address
    assert addresses.pool_size(subnet) == int(last) - int(first) + 1


def test_an_address_stays_when_there_are_more() -> None:
    subnet = IPv4Network("10.1.0.0/24")
    assert addresses.web(subnet, 5)[:2] == addresses.web(subnet, 2)


def a_region(**values: Any) -> Region:
    given = {"name": "r", "external_network": "x", "subnet": "10.1.0.0/24", **values}
    return Region.model_validate(given)


@pytest.mark.parametrize(
    ("architectures", "hosts", "workers"),
    [
        (["amd64"], [], [("amd64", "amd64", "unshare")]),
        (["amd64", "i386"], [], [("amd64", "amd64", "unshare")]),
        (["armhf"], ["armhf"], [("lxd", "arm64", "lxd")]),
        (["arm64", "armhf"], ["armhf"], [("arm64", "arm64", "unshare"), ("lxd", "arm64", "lxd")]),
    ],
)
def test_who_tests_if_nobody_is_named(
    architectures: list[str], hosts: list[str], workers: list[tuple[str, str, str]]
) -> None:
    region = a_region(architectures=architectures)
    assert [group.name for group in region.lxd_hosts] == hosts
    assert [(g.name, g.machine, g.testbed) for g in region.worker_groups] == workers


def test_none_is_not_the_same_as_not_named() -> None:
    region = a_region(architectures=["armhf"], lxd=[], workers=[])
    assert (region.lxd_hosts, region.worker_groups) == ((), ())


def test_flavors_are_named_by_what_they_have() -> None:
    made = Flavors.model_validate({"prefix": "ap-", "sizes": {"x": {"cpus": 8, "ram": 16, "disk": 160}}})
    assert made.name("x", Architecture.ARM64) == "ap-cpu8-ram16-disk160-arm64"
    assert made.name("small", Architecture.AMD64) == "ap-cpu2-ram4-disk20-amd64"
    with_disk = Flavors.model_validate({"sizes": {"x": {"cpus": 1, "ram": 1, "disk": 9, "ephemeral": 5}}})
    assert with_disk.name("x", Architecture.S390X) == "cpu1-ram1-disk9-ephemeral5-s390x"


def test_each_region_has_the_flavors_of_what_stands_there_and_of_testbeds() -> None:
    settings = load_settings("production")
    north, south = settings.regions
    assert set(flavors(settings, south)) == {
        f"{size}-{machine}"
        for size in ("cpu2-ram4-disk20", "cpu4-ram8-disk100", "cpu4-ram8-disk80")
        for machine in ("ppc64el", "s390x", "riscv64")
    }
    assert "cpu8-ram16-disk160-arm64" in flavors(settings, north)
    assert not [name for name in flavors(settings, north) if name.endswith(("armhf", "i386"))]


def test_what_is_needed_is_counted_once() -> None:
    settings = load_settings("production")
    counts = {use.key: use.count for use in uses(settings)}
    assert counts["broker.flavor"] == 3
    assert counts["regions.north.lxd.armhf.flavor"] == 14
    assert sum(counts.values()) == 3 + 1 + 2 + 3 + 1 + 14 + 8 + 4 + 2 + 3


def settings_with(**values: Any) -> Settings:
    return Settings.model_validate({**load_settings("devel").model_dump(), **values})


def test_an_image_is_named_by_its_region_or_by_all() -> None:
    settings = settings_with(images={"base": "b-{architecture}", "worker": "w-{architecture}"})
    (region,) = settings.regions
    assert settings.image(region, Architecture.ARM64) == "b-arm64"
    assert settings.image(region, Architecture.ARM64, worker=True) == "w-arm64"
    own = region.model_copy(update={"images": {Architecture.ARM64: "mine"}})
    assert settings.image(own, Architecture.ARM64) == "mine"
    assert settings_with().image(own, Architecture.ARM64, worker=True) == "mine"

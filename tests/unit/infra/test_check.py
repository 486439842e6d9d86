# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of which each part is right and that make no sense together."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from infra.settings import STAGES, load_settings
from infra.settings.load import check_settings
from testyard.errors import SettingsError

Change = Callable[[dict[str, Any]], object]


def production() -> dict[str, Any]:
    return tomllib.loads((STAGES / "production.toml").read_text())


def wrong(*changes: Change) -> list[str]:
    """What is said about production with these changes, line by line."""
    found = copy.deepcopy(production())
    for change in changes:
        change(found)
    with pytest.raises(SettingsError) as caught:
        check_settings(found, "mine.toml")
    assert caught.value.brief == "mine.toml: wrong settings"
    assert "Nothing was made" in caught.value.resolution
    return caught.value.details.splitlines()


def region(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["regions"] if each["name"] == name)


CASES: dict[str, tuple[Change, str]] = {
    "unknown region": (
        lambda s: s.update(services={"region": "west"}),
        "services.region: no region west. Name one of north, south",
    ),
    "services on a processor that no cloud has": (
        lambda s: s.update(services={"architecture": "i386"}),
        "services.architecture: no cloud has instances of it. Write amd64.",
    ),
    "overlapping networks": (
        lambda s: region(s, "south").update(subnet="10.46.8.0/21"),
        "regions.south.subnet: 10.46.8.0/21 overlaps 10.46.0.0/20 of north. Give each region",
    ),
    "people come from where tests run": (
        lambda s: s["admin_networks"][0].update(prefix="10.46.16.0/24"),
        "admin_networks.bastion.prefix: 10.46.16.0/24 overlaps the subnet of south",
    ),
    "subnet too small": (
        lambda s: region(s, "south").update(subnet="10.46.16.0/26"),
        "regions.south.subnet: 10.46.16.0/26 is too small. A /25 is the smallest.",
    ),
    "more machines than addresses": (
        lambda s: (
            region(s, "north").update(subnet="10.46.0.0/25"),
            s["regions"][0]["lxd"][0].update(count=99),
        ),
        "regions.north.subnet: 10.46.0.0/25 has 63 addresses for 113 workers and LXD hosts",
    ),
    "image missing": (
        lambda s: region(s, "south").update(images={"s390x": ""}),
        "regions.south.images.s390x: no image is named. Name one there, or set images.base.",
    ),
    "flavor that is none": (
        lambda s: s["broker"].update(flavor="huge"),
        "broker.flavor: no size huge. Name one of small, big,",
    ),
    "flavor too small for LXD": (
        lambda s: s["regions"][0]["lxd"][0].update(flavor="small"),
        "regions.north.lxd.armhf.flavor: size small is too small: 4 GiB of ram, and LXD with 3 slots",
    ),
    "flavor too small for so many slots": (
        lambda s: s["regions"][0]["workers"][0].update(slots=40),
        "regions.north.workers.amd64.flavor: size worker is too small: 8 GiB of ram",
    ),
    "flavor too small for all functions": (
        lambda s: s.update(
            flavors={"sizes": {"tiny": {"cpus": 1, "ram": 1, "disk": 10}}}, functions={"flavor": "tiny"}
        ),
        "functions.flavor: size tiny is too small: 1 GiB of ram, and all functions needs 3. Take small",
    ),
    "big smaller than small": (
        lambda s: s.update(flavors={"sizes": {"big": {"cpus": 1, "ram": 4, "disk": 20}}}),
        "flavors.sizes.big: smaller than small.",
    ),
    "nobody tests an architecture": (
        lambda s: s["regions"][0]["workers"].pop(1),
        "regions.north.architectures: nobody tests arm64. Add regions.north.workers",
    ),
    "LXD hosts that nobody uses": (
        lambda s: s["regions"][0]["workers"].pop(2),
        "regions.north.lxd: no worker uses these hosts.",
    ),
    "a worker for LXD hosts that are not there": (
        lambda s: s["regions"][0].update(lxd=[]),
        "regions.north.workers.lxd.testbed: there are no LXD hosts in the region.",
    ),
    "a release that is not tested": (
        lambda s: s["regions"][0]["workers"][0].update(releases=["noble"]),
        "regions.north.workers.amd64.releases: noble is not tested here. Known: bookworm,",
    ),
    "images for a release that is not tested": (
        lambda s: s["regions"][0]["lxd"][0].update(releases=["noble"]),
        "regions.north.lxd.armhf.releases: noble is not tested here.",
    ),
    "LXD for an architecture that is not tested": (
        lambda s: s["regions"][0]["lxd"].append({"name": "x", "architectures": ["s390x"]}),
        "regions.north.lxd.x.architectures: s390x is not tested here.",
    ),
    "a worker for an architecture that is not tested": (
        lambda s: region(s, "south").update(workers=[{"name": "a", "architectures": ["amd64"]}]),
        "regions.south.workers.a.architectures: amd64 is not tested here.",
    ),
    "a context that there is not": (
        lambda s: (
            s["topology"].update(contexts=["ubuntu"]),
            s["regions"][0]["workers"][0].update(contexts=["huge"]),
        ),
        "regions.north.workers.amd64.contexts: huge is not tested here. Known: ubuntu.",
    ),
    "sessions in clear": (
        lambda s: s.update(balancer={}),
        "balancer.tls: none, and production is no place for tokens and sessions in clear.",
    ),
    "a broker without a name": (
        lambda s: s["broker"].pop("host"),
        "broker.host: missing, and its certificate is for the name by which those outside connect.",
    ),
    "a region cut off from the broker": (
        lambda s: s["broker"].pop("clients"),
        "broker.clients: none, so the workers of south cannot reach the broker.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_what_is_wrong_where_and_what_helps(case: str) -> None:
    change, expected = CASES[case]
    assert [line for line in wrong(change) if line.startswith(expected)]


def test_all_of_it_is_in_one_report() -> None:
    lines = wrong(*(CASES[case][0] for case in ("unknown region", "overlapping networks", "image missing")))
    assert len(lines) == 3


def test_a_wrong_value_does_not_hide_what_is_wrong_elsewhere() -> None:
    lines = wrong(
        CASES["overlapping networks"][0],
        lambda s: s["broker"].update(volume=1),
        lambda s: s.update(colour="red"),
    )
    starts = sorted(line.split(":")[0] for line in lines)
    assert starts == ["broker.volume", "colour", "regions.south.subnet"]


def test_a_value_that_is_needed_and_wrong_is_said_alone() -> None:
    lines = wrong(CASES["overlapping networks"][0], lambda s: s["regions"][0].pop("external_network"))
    assert lines == ["regions.0.external_network: Field required"]


def test_what_was_put_in_by_mistake_is_not_shown() -> None:
    (line,) = wrong(lambda s: s["operators"][0].update(key="-----BEGIN OPENSSH PRIVATE KEY----- b3Blb"))
    assert line.startswith("operators.0.key: ")
    assert "b3Blb" not in line


def test_the_same_value_serves_a_network_and_everyone() -> None:
    found = production()
    found["admin_networks"] = [{"name": "everyone", "prefix": "0.0.0.0/0"}]
    assert str(check_settings(found, "x").admin_networks[0].prefix) == "0.0.0.0/0"


@pytest.mark.parametrize("stage", ["devel", "staging", "production"])
def test_our_own_stages_are_right(stage: str) -> None:
    assert load_settings(stage).regions


@pytest.mark.parametrize("extra", ["[", "x = ", "\x00", "stage = 5", "regions = 1", "[regions]", "[[stage]]"])
def test_any_text_gives_a_message(tmp_path: Any, extra: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{extra}\n")
    with pytest.raises(SettingsError, match=r"mine\.toml: "):
        load_settings(str(path))


@pytest.mark.parametrize("data", [b"\xff\xfe", b"stage = '\xe9'"])
def test_what_is_no_utf_8_gives_a_message(tmp_path: Any, data: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(data)
    with pytest.raises(SettingsError, match="not a TOML file"):
        load_settings(str(path))

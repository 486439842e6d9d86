# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from infra.settings import STAGES, Architecture, Stage, load_settings
from testyard.errors import SettingsError

GOOD = """
stage = "devel"
[[admin_networks]]
name = "office"
prefix = "192.0.2.0/24"
[[operators]]
name = "me"
key = "ssh-ed25519 AAAA me"
[[regions]]
name = "north"
architectures = ["amd64"]
external_network = "public"
subnet = "10.1.0.0/24"
"""
SECOND_REGION = GOOD[GOOD.index("[[regions]]") :]
SECOND_ADMIN = GOOD[GOOD.index("[[admin") : GOOD.index("[[operators]]")]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_a_file_that_says_which_it_is(stage: Stage) -> None:
    assert load_settings(stage).stage is stage


def test_every_file_is_a_stage() -> None:
    assert {path.stem for path in STAGES.iterdir()} == set(Stage)


def test_own_file_is_read_into_types(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert settings.regions[0].subnet == IPv4Network("10.1.0.0/24")
    assert settings.regions[0].architectures == (Architecture.AMD64,)
    with pytest.raises(ValueError, match="frozen"):
        settings.regions[0].name = "south"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"devel"', '"live"', "stage: Input should be"),
        ('stage = "devel"', "", "stage: Field required"),
        ('"devel"', '"production"', "state_store: missing"),
        ('"192.0.2.0/24"', '"192.0.2.1/24"', "admin_networks.0.prefix: "),
        ('"192.0.2.0/24"', '"everywhere"', "admin_networks.0.prefix: "),
        ('"office"', '"the_office"', "admin_networks.0.name: "),
        ('"amd64"', '"vax"', "regions.0.architectures.0: "),
        ('["amd64"]', '["amd64", "amd64"]', "regions.0: architectures: given twice: amd64"),
        ('["amd64"]', "[]", "regions.0.architectures: "),
        ('"north"', '"north/1"', "regions.0.name: "),
        ('"10.1.0.0/24"', '"10.1.0.7/24"', "regions.0.subnet: "),
        ('"10.1.0.0/24"', '"10.1.0.0/24"\ndns = ["one"]', "regions.0.dns.0: "),
        ('external_network = "public"', "", "regions.0.external_network: Field required"),
        ('external_network = "public"', 'outside = "public"', "regions.0.outside: Extra inputs"),
        ('"devel"', '"devel"\npassword = "x"', "password: Extra inputs"),
        ("[[admin", '[state_store]\nbucket = "b"\nendpoint = "http://s3"\n[[admin', "state_store.endpoint: "),
        ("[[regions]]", SECOND_ADMIN + "[[regions]]", "admin_networks: name: given twice: office"),
        (
            "[[regions]]",
            SECOND_ADMIN.replace("office", "home") + "[[regions]]",
            "admin_networks: prefix: given twice: 192.0.2.0/24",
        ),
        ("[[regions]]", SECOND_REGION + "[[regions]]", "regions: name: given twice: north"),
        ('"ssh-ed25519 AAAA me"', '"-----BEGIN OPENSSH PRIVATE KEY-----"', "operators.0.key: "),
        ('[[operators]]\nname = "me"\nkey = "ssh-ed25519 AAAA me"\n', "", "operators: Field required"),
        ("[[regions]]", "[broker]\nnodes = 2\n[[regions]]", "broker.nodes: Input should be 1 or 3"),
        (
            "[[regions]]",
            "[flavors.sizes.small]\nram = 4\n[[regions]]",
            "flavors.sizes.small.cpus: Field requ",
        ),
        ("[[regions]]", '[images]\nbase = "{arch}"\n[[regions]]', "images: base: only {architecture}"),
        ("[[regions]]", '[balancer]\ntls = "files"\n[[regions]]', "balancer: host: missing"),
        (
            "[[regions]]",
            '[balancer]\nhost = "a.b"\ntls = "acme"\n[[regions]]',
            "balancer: tls: acme needs public",
        ),
        (
            "[[regions]]",
            '[balancer]\nkind = "octavia"\nhost = "a.b"\ntls = "files"\n[[regions]]',
            "balancer: certificate_ref: missing",
        ),
        ("[[regions]]", '[functions]\nwhich = ["index"]\n[[regions]]', "functions: which: status is missing"),
        (
            "[[regions]]",
            '[[identity.credentials]]\nname = "x"\n[[regions]]',
            "identity: credentials: functions",
        ),
        ("[[regions]]", '[release]\nurl = "http://x"\nsha256 = "0"\n[[regions]]', "release.url: "),
        (
            '"10.1.0.0/24"',
            '"10.1.0.0/24"\n[[regions.lxd]]\nname = "a"\narchitectures = ["armhf", "amd64"]',
            "regions.0.lxd.0: architectures: no machine runs all of armhf, amd64",
        ),
        (
            '"10.1.0.0/24"',
            '"10.1.0.0/24"\n' + '[[regions.lxd]]\nname = "a"\n' * 2,
            "regions.0: lxd: name: given twice: a",
        ),
        (
            '"10.1.0.0/24"',
            '"10.1.0.0/24"\n[[regions.lxd]]\nname = "a"\nsame_host = "h1"',
            "regions.0.lxd.0.same_host: ",
        ),
        (
            '"10.1.0.0/24"',
            '"10.1.0.0/24"\n[[regions.workers]]\nname = "a"\nmachine = "armhf"',
            "regions.0.workers.0: machine: no cloud has instances of armhf; take arm64",
        ),
        (
            '"10.1.0.0/24"',
            '"10.1.0.0/24"\n[[regions.workers]]\nname = "a"\narchitectures = ["arm64"]',
            "regions.0.workers.0: architectures: amd64 runs no tests of arm64 in unshare",
        ),
    ],
)
def test_an_error_names_file_and_field(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, GOOD.replace(old, new, 1)))
    assert caught.value.brief.startswith("mine.toml: ")
    assert [line for line in caught.value.details.splitlines() if line.startswith(expected)]


def test_all_wrong_fields_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("amd64", "vax").replace("10.1.0.0/24", "nowhere")
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text))
    assert len(caught.value.details.splitlines()) == 2


def test_no_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"mine\.toml: not a TOML file"):
        load_settings(write(tmp_path, "stage: devel"))


@pytest.mark.parametrize("stage", ["live", "", "../stages/devel", "none.toml"])
def test_unknown_stage_is_answered_with_the_known_ones(stage: str) -> None:
    with pytest.raises(SettingsError, match="devel, staging, production"):
        load_settings(stage)


def test_settings_do_without_cdktf() -> None:
    code = (
        "import sys, infra.settings; sys.exit(any(m.split('.')[0] in ('cdktf', 'jsii') for m in sys.modules))"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)

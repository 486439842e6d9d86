# SPDX-License-Identifier: AGPL-3.0-or-later
"""What programs that deploy are told agrees with the stacks, with the instances and with the reference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.describe import describe
from infra.settings import Settings, load_settings
from tests.unit.infra.parsed import resources

Synth = Callable[[Settings], dict[str, dict[str, Any]]]
ROOT = Path(__file__).parents[3]
STAGES = ("devel", "staging", "production")


def instances(settings: Settings) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for region in describe(settings)["regions"] for each in region["instances"]}


@pytest.mark.parametrize("stage", STAGES)
def test_it_is_what_the_stacks_are(synth: Synth, stage: str, tmp_path: Path) -> None:
    settings = load_settings(stage)
    stacks = synth(settings)
    order = [name for region in describe(settings)["regions"] for name in region["stacks"]]
    assert sorted(order) == sorted(stacks)
    manifest = json.loads((tmp_path / "manifest.json").read_text())["stacks"]
    for name in order:
        assert all(order.index(before) < order.index(name) for before in manifest[name]["dependencies"])
    made = {
        address.partition(".")[2]: (stack, body["flavor_name"], body["metadata"]["testyard-kind"])
        for stack, found in stacks.items()
        for address, body in resources(found).items()
        if address.startswith("compute_instance")
    }
    told = {name: (each["stack"], each["flavor"], each["kind"]) for name, each in instances(settings).items()}
    assert told == made


def test_volumes_and_flavors() -> None:
    north, south = describe(load_settings("production"))["regions"]
    assert north["volumes"] == {"broker-1": 50, "broker-2": 50, "broker-3": 50, "database": 200}
    assert south["volumes"] == {}
    assert {each["flavor"] for each in north["instances"]} <= set(north["flavors"])
    assert north["slots"] == {"amd64": 32, "arm64": 16}


def units_of(kind: str) -> list[str]:
    """Texts of the units that come with the release."""
    folder = ROOT / kind
    return [file.read_text() for file in folder.glob("*.service")] if folder.is_dir() else []


@pytest.mark.parametrize("stage", STAGES)
def test_instances_wait_for_what_they_use(synth: Synth, stage: str) -> None:
    settings = load_settings(stage)
    told = instances(settings)
    for stack in synth(settings).values():
        for address, body in resources(stack).items():
            if not address.startswith("compute_instance"):
                continue
            files = json.loads(body["user_data"].replace("$${", "${").partition("\n")[2])["write_files"]
            kind = body["metadata"]["testyard-kind"]
            text = "\n".join([*(file["content"] for file in files), *units_of(kind)])
            used = set(re.findall(r"(?:/etc/testyard/secrets|\$secrets)/([a-z-]+\.[a-z]+)\b", text))
            waits = told[address.partition(".")[2]]["waits_for"]
            # named by a variable, in the operator's settings, or in addresses that are secrets themselves
            by_name = {"operators.keys", "authority.crt", "server.crt", "server.key", "lxd-client.key"}
            by_name |= {
                "lxd-client.crt",
                "lxd-server.crt",
                "lxd-server.key",
                "functions.password",
                "site.password",
            }
            assert set(waits) - used <= by_name
            # of both the certificate's owners, files and certbot, an instance has one
            assert used - set(waits) <= {"site.crt", "site.key"}


def test_files_that_follow_from_the_settings() -> None:
    told = instances(load_settings("staging"))
    assert set(told["web-1"]["files"]) == {"operators.keys"}
    assert told["web-1"]["files"]["operators.keys"].startswith("ssh-ed25519 ")
    assert "trixie" in told["armhf-1"]["files"]["images.toml"]
    assert all(set(each["files"]) <= set(each["waits_for"]) for each in told.values())


def test_every_file_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "infra.md").read_text()
    names = {
        name
        for stage in STAGES
        for each in instances(load_settings(stage)).values()
        for name in each["waits_for"]
    }
    names -= {f"{each}.toml" for each in ("logins", "projects", "rules")}  # "policy.toml and so on"
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_the_program_prints_it_without_node(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "infra", "--stage", "production", "--describe"]
    done = subprocess.run(
        argv, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(json.dumps(describe(load_settings("production"))))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""terraform's own opinion of every stack, by the schema of the stand-in provider: which arguments there
are, of which type, which are needed, whether references lead anywhere. Nothing is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.node import prepare_node
from infra.settings import Settings, load_settings
from infra.settings.load import check_settings
from tests.openstack.terraform import Terraform, terraform_environment


def everything() -> Settings:
    """Production with all that can be made: flavors, users, archives, LXD hosts in both regions."""
    found: dict[str, Any] = load_settings("production").model_dump(mode="json")
    found["flavors"]["create"] = True
    found["flavors"]["sizes"]["big"]["ephemeral"] = 10
    found["identity"] |= {"project": "testyard", "users": [{"name": "guest", "roles": ["reader"]}]}
    found["results"]["archives"] = ["team-ppa"]
    found["regions"][1]["architectures"].append("armhf")
    return check_settings(found, "everything")


def cloud_balanced() -> Settings:
    """Devel behind the cloud's own balancer."""
    found: dict[str, Any] = load_settings("devel").model_dump(mode="json")
    found["balancer"] |= {
        "kind": "octavia",
        "host": "testyard.example.com",
        "public": True,
        "tls": "files",
        "certificate_ref": "https://barbican.example.com/v1/containers/1",
    }
    return check_settings(found, "cloud balanced")


def stacks(settings: Settings, folder: Path) -> list[Path]:
    prepare_node()
    from infra.app import build  # noqa: PLC0415  importing cdktf starts node

    build(settings, outdir=folder).synth()
    return sorted((folder / "stacks").iterdir())


def validate(folder: Path, rc: Path) -> None:
    terraform = Terraform(folder, terraform_environment(rc))
    terraform.must("init", "-backend=false", "-input=false", "-no-color")
    said = terraform.must("validate", "-no-color")
    assert "Success!" in said, f"{folder.name}: {said}"


def test_terraform_finds_nothing_wrong(tmp_path: Path, terraform_rc: Path) -> None:
    found = stacks(everything(), tmp_path)
    kinds = {folder.name.rpartition("-")[0] for folder in found}
    assert kinds == {
        *("broker", "database", "flavors", "functions", "identity"),
        *("lxd-hosts", "network", "results", "web", "workers"),
    }
    # the regions differ in what stands there and not in what it is made of
    for folder in found:
        if folder.name.endswith("-north") or folder.name == "lxd-hosts-south":
            validate(folder, terraform_rc)


def test_terraform_finds_nothing_wrong_with_the_cloud_s_balancer(tmp_path: Path, terraform_rc: Path) -> None:
    (web,) = [folder for folder in stacks(cloud_balanced(), tmp_path) if folder.name.startswith("web-")]
    validate(web, terraform_rc)


def test_it_would_find_something(tmp_path: Path, terraform_rc: Path) -> None:
    (database,) = [folder for folder in stacks(load_settings("devel"), tmp_path) if "database" in folder.name]
    file = database / "cdk.tf.json"
    file.write_text(file.read_text().replace('"flavor_name"', '"flavour"'))
    with pytest.raises(AssertionError, match="flavour"):
        validate(database, terraform_rc)

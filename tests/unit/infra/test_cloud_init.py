# SPDX-License-Identifier: AGPL-3.0-or-later
"""What instances are told: whole, small enough, and made of what the repository has."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cloud_init.balancer import balancer
from infra.cloud_init.broker import broker
from infra.cloud_init.common import PORTS
from infra.cloud_init.database import database
from infra.cloud_init.document import Document, etc, template_escaped
from infra.cloud_init.lxd_host import image_settings, lxd_host
from infra.cloud_init.service import functions, web
from infra.cloud_init.worker import worker
from infra.settings import Settings, load_settings
from testyard.hosts import LxdHost
from testyard.settings import Settings as Product

ROOT = Path(__file__).parents[3]
STAGES = ("devel", "staging", "production")
#: What Nova takes, in base64.
MOST_USER_DATA = 65535


def all_documents(settings: Settings) -> Iterator[tuple[str, str]]:
    """Name and user data of one instance of each kind."""
    yield "broker", broker(settings, 1)
    yield "database", database(settings)
    yield "functions", functions(settings, 1)
    yield "web", web(settings, 1)
    yield "balancer", balancer(settings)
    for region in settings.regions:
        for group in region.lxd_hosts:
            yield f"lxd {group.name}", lxd_host(settings, group, f"{group.name}-1")
        for workers in region.worker_groups:
            yield (
                f"worker {workers.name}",
                worker(settings, region, workers, f"{region.name}-{workers.name}-1"),
            )


DOCUMENTS = [
    pytest.param(text, id=f"{stage} {name}")
    for stage in STAGES
    for name, text in all_documents(load_settings(stage))
]


def parsed(text: str) -> dict[str, Any]:
    head, _, body = text.partition("\n")
    assert head == "#cloud-config"
    found = json.loads(body)
    assert isinstance(found, dict)
    return found


def files(text: str) -> dict[str, str]:
    return {file["path"]: file["content"] for file in parsed(text)["write_files"]}


@pytest.mark.parametrize("text", DOCUMENTS)
def test_it_is_json_and_fits(text: str) -> None:
    assert len(base64.b64encode(text.encode())) <= MOST_USER_DATA
    found = parsed(text)
    assert "ssh-ed25519" not in text  # another operator would be another instance
    assert found["ssh_pwauth"] is False
    assert found["runcmd"] == [["/usr/local/sbin/testyard-setup"]]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_is_called_is_there(text: str) -> None:
    found = files(text)
    programs = {path.rpartition("/")[2] for path in found if path.startswith("/usr/local/sbin/")}
    units = {path.rpartition("/")[2] for path in found if path.startswith("/etc/systemd/system/")}
    scripts = [body for path, body in found.items() if path.startswith(("/usr/local/sbin/", "/etc/systemd"))]
    calls = {
        word
        for body in scripts
        for word in re.findall(r"(?:^|[ /])(testyard-[a-z-]+)(?=[ \n\"]|$)", body, re.M)
    }
    known = programs | {unit.partition(".")[0] for unit in units} | {"testyard-data", "testyard-testbed"}
    # without a release in the settings, or a volume, these are in no document and are not called
    optional = {"testyard-code", "testyard-volume", "testyard-remotes"}
    assert calls - known <= optional
    node = found["/etc/testyard/node.env"]
    assert ("testyard-volume" in programs) == ("DATA_DIR=" in node)
    assert ("testyard-code" in programs) == ("CODE_KIND=''" not in node)


@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_it_takes_from_the_release_is_in_the_repository(text: str) -> None:
    for body in files(text).values():
        for path in re.findall(r"/opt/testyard/([A-Za-z0-9_./@-]+)", body):
            assert path.startswith((".venv/", "release.sha256")) or (ROOT / path).exists(), path
        for module in re.findall(r"-m (worker\.[a-z]+)", body):
            assert (ROOT / "worker-image" / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("text", DOCUMENTS)
def test_programs_are_shell_or_python(text: str) -> None:
    for path, body in files(text).items():
        if body.startswith("#!/bin/sh"):
            done = subprocess.run(["sh", "-n"], input=body, text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), path
            assert "set -eu" in body
        elif path.startswith("/usr/local/sbin/"):
            compile(body, path, "exec")


@pytest.mark.parametrize("text", DOCUMENTS)
def test_each_value_of_node_env_is_quoted(text: str) -> None:
    for line in files(text)["/etc/testyard/node.env"].splitlines():
        done = subprocess.run(
            ["sh", "-euc", 'eval "$1"', "sh", line], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def read(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Product:
    """Settings as the service reads them."""
    file = tmp_path / "settings.toml"
    file.write_text(text)
    monkeypatch.setenv("TESTYARD_CONFIG", str(file))
    return Product()


def test_a_worker_reads_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings("production")
    region = settings.regions[0]
    text = files(worker(settings, region, region.worker_groups[0], "north-amd64-1"))[
        "/etc/testyard/worker.toml"
    ]
    found = read(text, monkeypatch, tmp_path)
    assert found.worker.name == "north-amd64-1"
    assert [(host.testbed, host.slots) for host in found.worker.hosts] == [("unshare", 4)]  # type: ignore[union-attr]
    assert found.topology.architectures == ("amd64", "i386")
    assert found.topology.releases == ("bookworm", "trixie", "forky", "sid")


def test_a_worker_of_lxd_hosts_has_none_before_the_inventory(monkeypatch: Any, tmp_path: Path) -> None:
    settings = load_settings("staging")
    region = settings.regions[0]
    (group,) = [group for group in region.worker_groups if group.testbed == "lxd"]
    found = files(worker(settings, region, group, "north-lxd-1"))
    assert "/etc/testyard/worker.toml" not in found
    assert "REGION=north" in found["/etc/testyard/node.env"]
    assert read(found["/etc/testyard/worker.base.toml"], monkeypatch, tmp_path).worker.hosts == ()


def test_a_lxd_host_builds_images_of_its_releases(monkeypatch: Any, tmp_path: Path) -> None:
    settings = load_settings("staging")
    group = settings.regions[0].lxd_hosts[0].model_copy(update={"releases": ("sid",)})
    (host,) = read(image_settings(settings, group), monkeypatch, tmp_path).worker.hosts
    assert isinstance(host, LxdHost)
    assert (host.releases, host.architectures) == (("sid",), ("armhf",))
    found = files(lxd_host(settings, group, "armhf-1"))
    assert "sid" not in str(found)  # another release would be another host
    pool = json.loads(found["/etc/testyard/lxd.json"])["storage_pools"][0]
    assert pool["config"] == {"size": "148GiB"}


def test_functions_read_their_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings("production")
    found = files(functions(settings, 2))
    read_ = read(found["/etc/testyard/functions.toml"], monkeypatch, tmp_path)
    assert str(read_.intake.policy) == "/etc/testyard/secrets/policy.toml"
    assert str(read_.notify.rules) == "/etc/testyard/secrets/rules.toml"
    assert read_.intake.trusted_proxies == ("10.46.0.14",)
    assert read_.site.url == "https://testyard.example.com"
    ports = {path: body for path, body in found.items() if path.startswith("/etc/testyard/ports/")}
    assert ports == {f"/etc/testyard/ports/{each}.env": f"PORT={port}\n" for each, port in PORTS.items()}
    assert len(set(PORTS.values())) == len(PORTS)


def test_the_site_has_no_function_s_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = files(web(load_settings("production"), 1))
    assert "/etc/testyard/functions.toml" not in found
    assert read(found["/etc/testyard/web.toml"], monkeypatch, tmp_path).site.url


def test_names_lead_to_every_node_of_the_broker() -> None:
    found = files(functions(load_settings("production"), 1))["/etc/hosts"]
    assert found.splitlines() == [
        "10.46.0.10 broker.testyard.internal broker-1",
        "10.46.0.11 broker.testyard.internal broker-2",
        "10.46.0.12 broker.testyard.internal broker-3",
        "10.46.0.13 database.testyard.internal",
    ]
    south = load_settings("production").regions[1]
    assert "/etc/hosts" not in files(worker(load_settings("production"), south, south.worker_groups[0], "s"))


def test_a_service_does_not_start_before_its_secrets_are_there() -> None:
    for text in (broker(load_settings("devel"), 1), balancer(load_settings("devel"))):
        (mask,) = parsed(text)["bootcmd"]
        assert mask[:2] == ["systemctl", "mask"]


def test_another_release_of_ours_is_another_document() -> None:
    settings = load_settings("devel")
    code = {"url": "https://example.org/testyard.tar.gz", "sha256": "0" * 64}
    other = Settings.model_validate({**settings.model_dump(), "release": code})
    assert web(settings, 1) == web(load_settings("devel"), 1) != web(other, 1)
    assert "CODE_URL=https://example.org/testyard.tar.gz" in files(web(other, 1))["/etc/testyard/node.env"]


NASTY = 'a="${HOME}" \'%{x}\' $${y} %%{z} \\ \\" \n\ttab ${ %{ $ % é€😀 \x7f'


@given(st.text(st.sampled_from("$%{}\\\"'\na"), max_size=40))
def test_escaping_can_be_undone(text: str) -> None:
    assert template_escaped(text).replace("$${", "${").replace("%%{", "%{") == text
    # terraform reads `$${` as a plain `${`; no lone one is left
    assert not re.search(r"(?<!\$)\$\{|(?<!%)%\{", template_escaped(text))


@pytest.mark.parametrize("text", [NASTY, "$${a}", "$$${a}", "%%{a}", "%%%{a}", "${", "%{", "$$", ""])
def test_terraform_reads_it_byte_for_byte(tmp_path: Path, text: str) -> None:
    if shutil.which("terraform") is None:
        pytest.skip("no terraform on PATH")
    document = Document(kind="web", name="x", files=(etc("x", text),), node={"A": text}).render()
    body = {"output": {"user_data": {"value": template_escaped(document)}}}
    (tmp_path / "main.tf.json").write_text(json.dumps(body))
    for words in (("init",), ("apply", "-auto-approve")):
        subprocess.run(
            ["terraform", f"-chdir={tmp_path}", *words], check=True, capture_output=True, timeout=120
        )
    state = json.loads((tmp_path / "terraform.tfstate").read_text())
    assert state["outputs"]["user_data"]["value"] == document
    assert files(document)["/etc/testyard/x"] == text


def test_toml_files_are_toml() -> None:
    for stage in STAGES:
        for _, text in all_documents(load_settings(stage)):
            for path, body in files(text).items():
                if path.endswith(".toml"):
                    assert tomllib.loads(body)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""terraform in the tests: the user's own program, with the stand-in in place of the official provider."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.openstack.provider.install import ROOT, install, write_rc

#: Where scripts/setup has put what the stand-in needs.
PROVIDER_PYTHON = ROOT / ".venv-provider" / "bin" / "python"


def terraform_program() -> str:
    """The program. Skips the test, with the reason, if there is none."""
    found = os.environ.get("TESTYARD_TERRAFORM") or shutil.which("terraform")
    if not found or not Path(found).is_file():
        pytest.skip("no terraform: neither TESTYARD_TERRAFORM nor PATH has it")
    return found


@pytest.fixture(scope="session")
def terraform_rc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """terraform's settings (TF_CLI_CONFIG_FILE): the stand-in takes the official provider's place."""
    folder = tmp_path_factory.mktemp("terraform")
    install(folder / "mirror", PROVIDER_PYTHON)
    write_rc(folder / "terraform.tfrc", folder / "mirror")
    return folder / "terraform.tfrc"


def terraform_environment(rc: Path, **more: str) -> dict[str, str]:
    """The environment for terraform and cdktf: ours without any ``OS_*`` and ``TF_*``, and ``more``."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "TF_"))}
    return {**ours, "TF_CLI_CONFIG_FILE": str(rc), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", **more}


@dataclass(frozen=True)
class Terraform:
    """terraform in one folder."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        argv = [terraform_program(), f"-chdir={self.folder}", *arguments]
        return subprocess.run(
            argv, env=dict(self.environment), capture_output=True, text=True, timeout=280, check=False
        )

    def must(self, *arguments: str) -> str:
        """Run it; fails the test with its output unless it ends well."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"terraform {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def init(self) -> None:
        """Take the providers from the mirror."""
        self.must("init", "-input=false", "-no-color")

    def apply(self, **variables: str) -> None:
        """Make it so."""
        self.must("apply", "-auto-approve", "-input=false", "-no-color", *_variables(variables))

    def destroy(self) -> None:
        """Delete everything."""
        self.must("destroy", "-auto-approve", "-input=false", "-no-color")

    def plan(self, **variables: str) -> dict[str, list[str]]:
        """What would change: actions by address, without what stays as it is."""
        plan = self.folder / "plan"
        self.must("plan", "-input=false", "-no-color", f"-out={plan}", *_variables(variables))
        shown = json.loads(self.must("show", "-json", str(plan)))
        return {
            one["address"]: one["change"]["actions"]
            for one in shown.get("resource_changes", [])
            if one["change"]["actions"] not in (["no-op"], ["read"])
        }

    def ids(self) -> dict[str, str]:
        """Each resource's id in the cloud, by address."""
        state = json.loads(self.must("show", "-json"))
        found = state["values"]["root_module"]["resources"]
        return {one["address"]: one["values"]["id"] for one in found if one["mode"] == "managed"}

    def outputs(self) -> dict[str, Any]:
        """Each output's value."""
        return {name: one["value"] for name, one in json.loads(self.must("output", "-json")).items()}


def _variables(variables: Mapping[str, str]) -> list[str]:
    return [f"-var={name}={value}" for name, value in variables.items()]

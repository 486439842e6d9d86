# SPDX-License-Identifier: AGPL-3.0-or-later
"""terraform's own opinion of the synthesised files; needs terraform and the OpenStack provider."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.settings import Settings, load_settings

Synth = Callable[[Settings], dict[str, dict[str, Any]]]


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = ["terraform", f"-chdir={folder}", *arguments, "-no-color"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.long
@pytest.mark.parametrize("stage", ["devel", "production"])
def test_terraform_finds_nothing_wrong(synth: Synth, tmp_path: Path, stage: str) -> None:
    if shutil.which("terraform") is None:
        pytest.skip("no terraform on PATH")
    for name in synth(load_settings(stage)):
        folder = tmp_path / "stacks" / name
        prepared = terraform(folder, "init", "-backend=false", "-input=false")
        if "Failed to query available provider packages" in prepared.stderr:
            pytest.skip(
                "no OpenStack provider: neither the registry nor a mirror in TF_CLI_CONFIG_FILE has it"
            )
        assert prepared.returncode == 0, prepared.stderr
        checked = terraform(folder, "validate")
        assert checked.returncode == 0, checked.stdout + checked.stderr

# SPDX-License-Identifier: AGPL-3.0-or-later
"""cdktf for tests. Without node every test of infra fails here and says so: nothing is skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.node import prepare_node
from infra.settings import Settings
from testyard.errors import SettingsError

Synth = Callable[[Settings], dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def node() -> None:
    """node, made ready; a failure, not a skip, if there is none."""
    try:
        prepare_node()
    except SettingsError as error:
        pytest.fail(f"the tests of infra need node:\n{error}", pytrace=False)


@pytest.fixture
def synth(node: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Synth:
    """Synthesise settings; the answer is the parsed terraform file of each stack, by its name."""
    monkeypatch.delenv("CDKTF_OUTDIR", raising=False)

    def run(settings: Settings) -> dict[str, dict[str, Any]]:
        from infra.app import build  # noqa: PLC0415  importing cdktf starts node

        build(settings, outdir=tmp_path).synth()
        files = (tmp_path / "stacks").glob("*/cdk.tf.json")
        return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}

    return run

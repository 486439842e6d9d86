# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from infra.node import prepare_node
from testyard.errors import SettingsError


def test_a_missing_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="node: no such program"):
        prepare_node({"PATH": str(tmp_path)})


def test_jsii_s_own_variable_counts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="/no/node: no such program"):
        prepare_node({"PATH": str(tmp_path), "JSII_NODE": "/no/node"})


def test_what_the_operator_set_stays(tmp_path: Path) -> None:
    program = tmp_path / "node"
    program.touch(mode=0o755)
    variable = "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION"
    environ = {"PATH": str(tmp_path), variable: "22"}
    prepare_node(environ)
    assert environ[variable] == "22"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Credentials of the older system: read, never run, and told to nobody."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.tools.__main__ import app
from infra.tools.rcfiles import merged, read_rc, stage_part
from testyard.errors import TestyardError

TEXT = """\
# made by the cloud
export OS_AUTH_URL=https://keystone.example/v3
export OS_USERNAME="someone"
export OS_PASSWORD='pa ss$(touch /tmp/run)'
OS_PROJECT_NAME=adt   # ours
export OS_REGION_NAME=lcy02
echo "Password: "; read -sr INPUT
"""


def rc(folder: Path, name: str, text: str = TEXT) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_files_of_one_account_are_one_cloud(tmp_path: Path) -> None:
    found = merged([read_rc(rc(tmp_path, name)) for name in ("lcy02.rc", "lcy02-arm64.rc")])
    assert [(cloud.name, [*map(str, cloud.architectures)]) for cloud in found] == [
        ("lcy02", ["amd64", "i386", "arm64"])
    ]
    other = read_rc(rc(tmp_path, "lcy02-s390x.rc", TEXT.replace("someone", "else")))
    text = stage_part([*found, other])
    assert "another account in the same region" in text
    assert [region["cloud"] for region in tomllib.loads(text)["regions"]] == ["lcy02", "lcy02-s390x"]


@pytest.mark.parametrize("value", ["$OS_PASSWORD_INPUT", '"$(cat /etc/shadow)"'])
def test_what_a_shell_would_have_to_find_out_is_left_out(tmp_path: Path, value: str) -> None:
    found = read_rc(rc(tmp_path, "bos01.rc", f"export OS_AUTH_URL=https://k\nexport OS_PASSWORD={value}\n"))
    assert found.entry["auth"] == {"auth_url": "https://k"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("novarc", TEXT, "is not named REGION.rc"),
        ("a.rc", "export OS_USERNAME=x\n", "sets no OS_AUTH_URL"),
        ("a.rc", "export OS_PASSWORD='s3cret\n", "cannot be read"),
    ],
)
def test_what_is_no_rc_file(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(TestyardError) as failure:
        read_rc(rc(tmp_path, name, text))
    assert words in failure.value.brief
    assert "s3cret" not in str(failure.value)


def test_the_command_writes_a_private_file(tmp_path: Path) -> None:
    clouds = tmp_path / "clouds.yaml"
    words = ["import-rc", str(rc(tmp_path, "bos01-ppc64el.rc")), "--clouds", str(clouds)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    entry = json.loads(clouds.read_text())["clouds"]["bos01-ppc64el"]
    assert entry["auth"]["username"] == "someone"
    assert clouds.stat().st_mode & 0o777 == 0o600
    assert "pa ss" not in result.output
    assert tomllib.loads(result.stdout)["regions"][0]["architectures"] == ["ppc64el"]
    assert CliRunner().invoke(app, words).exit_code == 2, "what is there is not written over"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of the projects whose hooks are taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testyard.errors import SettingsError
from testyard.intake.projects import ProjectFile, Projects
from testyard.settings import Intake, Settings


def read(tmp_path: Path, text: str) -> Projects:
    path = tmp_path / "projects.toml"
    path.write_text(text)
    return Projects.load(Settings(intake=Intake(projects=path)))


def test_without_a_file_there_is_no_project() -> None:
    assert Projects.load(Settings()).of("github", "owner/project") is None


def test_the_closest_name_counts(tmp_path: Path) -> None:
    projects = read(
        tmp_path,
        """
        [projects."gitlab/group/sub/project"]
        secret = "of the project"
        [projects."gitlab/group/*"]
        secret = "of the group"
        [projects."gitlab/*"]
        secret = "of all there are"
        [projects."github/group/*"]
        secret = "elsewhere"
        """,
    )
    secrets = {
        path: found.secrets if (found := projects.of("gitlab", path)) else None
        for path in ("group/sub/project", "group/sub/other", "group/x", "other/x", "group")
    }
    assert secrets == {
        "group/sub/project": ("of the project",),
        "group/sub/other": ("of the group",),
        "group/x": ("of the group",),
        "other/x": ("of all there are",),
        "group": ("of all there are",),
    }
    assert projects.of("github", "other/x") is None
    assert projects.of("forgejo", "group/x") is None


@pytest.mark.parametrize("key", ["secret", "token"])
def test_a_secret_s_file_may_change(tmp_path: Path, key: str) -> None:
    for name in ("secret", "token"):
        (tmp_path / name).write_text("of yesterday")
    table = "".join(f'{name}_file = "{tmp_path / name}"\n' for name in ("secret", "token"))
    (tmp_path / "projects.toml").write_text(f'[projects."github/a/b"]\n{table}')
    projects = ProjectFile(tmp_path / "projects.toml", pause=0)
    (tmp_path / key).write_text("of the new day")
    found = projects.now().of("github", "a/b")
    assert found is not None
    assert (found.secrets[0] if key == "secret" else found.token) == "of the new day"


def test_people_of_a_forge_of_one_s_own_have_its_host_in_their_name(tmp_path: Path) -> None:
    text = """
        [projects."gitlab/a/b"]
        secret = "0123456789"
        [projects."gitlab/c/d"]
        secret = "0123456789"
        url = "https://git.example.org:8443"
        """
    owners = [found.owner("jane") for found in read(tmp_path, text).by_name.values()]
    assert owners == ["gitlab/jane", "gitlab:git.example.org:8443/jane"]


def test_addresses_and_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_TOKEN", "token-of-the-forge\n")
    (tmp_path / "secret").write_text("from a file\n")
    projects = read(
        tmp_path,
        f"""
        [projects."github/a/b"]
        secret_file = "{tmp_path}/secret"
        token_env = "OUR_TOKEN"
        sha1 = true
        app_id = 1234
        release = "trixie"
        arch = ["amd64", "arm64"]
        package = "b-upstream"
        [projects."github/c/d"]
        secret = ["the new one", "the old one"]
        url = "https://git.example.org/"
        [projects."gitea/a/b"]
        secret = "long enough"
        url = "http://127.0.0.1:3000"
        """,
    )
    own = projects.by_name["github/a/b"]
    assert (own.secrets, own.token, own.sha1, own.app_id) == (
        ("from a file",),
        "token-of-the-forge",
        True,
        "1234",
    )
    assert own.defaults == {"release": ("trixie",), "arch": ("amd64", "arm64"), "package": "b-upstream"}
    assert {name: found.api for name, found in projects.by_name.items()} == {
        "github/a/b": "https://api.github.com",
        "github/c/d": "https://git.example.org/api/v3",
        "gitea/a/b": "http://127.0.0.1:3000/api/v1",
    }
    assert projects.by_name["github/c/d"].secrets == ("the new one", "the old one")
    assert "from a file" not in repr(projects)
    assert "token-of-the-forge" not in repr(projects)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('[projects."github/a/b"]', "secret"),
        ('[projects."github/a/b"]\nsecret = "short"', "8 characters"),
        ('[projects."github/a/b"]\nsecret = []', "secret"),
        ('[projects."github/a/b"]\nsecret = ["long enough", 1]', "secret"),
        ('[projects."github/a/b"]\nsecret_file = "/nowhere"', "/nowhere cannot be read"),
        ('[projects."github/a/b"]\nsecret_env = "NOWHERE"', "no variable NOWHERE"),
        ('[projects."github/a/b"]\nsecret = "long enough"\nsecret_env = "X"', "one is enough"),
        ('[projects."github/a/b"]\nsecret = "long enough"\nsha1 = 1', "sha1: must be true or false"),
        ('[projects."github/a/b"]\nsecret = "long enough"\nurl = "ftp://x"', "url: must be an http"),
        ('[projects."github/a/b"]\nsecret = "long enough"\nurl = "http://[x"', "url: must be an http"),
        ('[projects."github/a/b"]\nsecret = "long enough"\narch = [1]', "arch: must be text"),
        ('[projects."github/a/b"]\nsecret = "long enough"\npackage = []', "package: must be text"),
        ('[projects."github/a/b"]\nsecret = "long enough"\ncolour = 1', "colour: no such key; known: "),
        ('[projects."github/a b"]\nsecret = "long enough"', "is not <forge>/"),
        ('[projects."sourceforge/a/b"]\nsecret = "long enough"', "forges are github, gitlab"),
        ('[projects]\n"github/a/b" = 1', "must be a table"),
        ("[project.x]", "must hold tables"),
        ("projects = 1", "must hold tables"),
        ("[", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, table: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=r"^intake\.projects: ") as caught:
        read(tmp_path, table)
    assert problem in str(caught.value)
    assert "long enough" not in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Projects.read(tmp_path / "none.toml")


def test_it_needs_neither_database_nor_pydantic() -> None:
    code = (
        "import sys, testyard.intake.projects; print(sorted({'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

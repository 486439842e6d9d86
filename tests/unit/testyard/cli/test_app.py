# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

import testyard as package
from tests.unit.testyard.cli.conftest import Command
from testyard.cli.app import app


def leaves(
    command: click.Command, words: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*words, name))]


#: The commands of `infra` are that room's own.
ALL = [leaf for leaf in leaves(typer.main.get_command(app)) if leaf[0] != ("infra",)]
OURS = [(words, command) for words, command in ALL if words[0] != "local"]
#: Becomes the worker, whose output is its log.
RUN = ("worker", "run")
#: What looks at a database first, in which nothing waits.
CARE = tuple(("queue", name) for name in ("list", "remove", "move", "urgent", "tidy"))
#: Those that ask servers; `worker check` looks at this machine, `audit`, `token` and `retry` at a
#: database, `retry-hook` at a forge.
ALONE = (RUN, ("worker", "check"), ("retry",), ("retry-hook",), ("audit",), *CARE)
ASKING = [words for words, _ in OURS if words not in ALONE and words[0] != "token"]


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_command_has_json_state_and_help(
    testyard: Command, words: tuple[str, ...], command: click.Command
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--state"} - options <= ({"--json"} if words == RUN else set())
    assert command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params)
    assert testyard(*words, "--help").exit_code == 0


ARGUMENTS = {
    "request": ["gzip", "--arch", "amd64"],
    "results": ["gzip"],
    "retry-hook": ["https://github.com/jane/tool/pull/1"],
    **{
        name: ["x"]
        for name in ("show", "log", "retry", "follow", "cancel", "reproduce", "drain", "resume", "reload")
    },
    **{name: ["x"] for name in ("make", "revoke", "remove", "urgent", "requeue")},
    "move": ["x", "--to", "urgent"],
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_without_servers_every_command_explains_itself(
    testyard: Command, words: tuple[str, ...], as_json: bool
) -> None:
    options = ["--json"] if as_json else []
    result = testyard(*words, *ARGUMENTS.get(words[-1], []), *options)
    assert result.exit_code == 1
    if words != ("doctor",):
        assert result.stdout == ""
        assert any(part in result.stderr for part in ("broker", "site", "store"))


@pytest.mark.parametrize("words", [words for words, _ in OURS], ids=" ".join)
def test_wrong_settings_are_explained(testyard: Command, settings_file: Path, words: tuple[str, ...]) -> None:
    settings_file.write_text("[store]\nkey = ['s3cret']\n")
    result = testyard(*words, *ARGUMENTS.get(words[-1], []))
    assert result.exit_code == 1
    assert "store.key: " in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["request"], ["request", "gzip", "--nosuch"], ["queue", "x"], ["results"], ["broker", "x"]],
)
def test_wrong_usage_is_exit_code_2(testyard: Command, arguments: list[str]) -> None:
    result = testyard(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_the_version(testyard: Command) -> None:
    assert testyard("--version").stdout == f"testyard {package.__version__}\n"


def test_help_tells_the_exit_codes(testyard: Command) -> None:
    text = testyard("--help").stdout
    assert all(f"{code} " in text for code in (0, 1, 2, 3, 4, 130))


def test_infra_is_handed_on(testyard: Command, capfd: pytest.CaptureFixture[str]) -> None:
    assert testyard("infra", "quota", "devel", "--offline").exit_code == 0
    assert "RegionOne" in capfd.readouterr().out
    assert testyard("infra", "quota", "nosuch").exit_code == 1
    assert "stage: no stage 'nosuch'" in capfd.readouterr().err
    assert testyard("infra", "nosuch").exit_code == 2
    assert testyard("infra", "--help").exit_code == 0
    assert "testyard infra [OPTIONS] COMMAND" in capfd.readouterr().out


def test_python_m_testyard() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testyard", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"testyard {package.__version__}\n", "")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard token``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.unit.testyard.cli.conftest import Command
from testyard.index import index_engine
from testyard.intake import Scope, audit, tokens
from testyard.intake.audit import Action
from testyard.intake.recognise import recognise


@pytest.fixture
def memory(settings_file: Path) -> Engine:
    return index_engine(f"sqlite:///{settings_file.parent}/index.db", writer=True)


def test_make_list_revoke(testyard: Command, memory: Engine) -> None:
    assert testyard("token", "list").stdout == "No tokens.\n"
    made = testyard("token", "make", "release bot", "--owner", "github/jane", "--scope", "cancel")
    text = made.stdout.strip()
    assert made.stdout == f"{text}\n"
    assert text not in made.stderr
    who = recognise(memory, memory, token=text)
    assert who is not None
    assert (who.owner, who.scopes) == ("github/jane", {Scope.CANCEL})
    listed = testyard("token", "list").stdout
    assert text.split("_", 2)[2] not in listed
    assert "release bot  github/jane  cancel  just now  365 days left" in listed
    assert testyard("token", "list", "--owner", "github/joe").stdout == "No tokens.\n"
    revoked = testyard("token", "revoke", who.token)
    assert revoked.stdout == f"{who.token} (release bot, of github/jane) is revoked.\n"
    again = testyard("token", "revoke", text)
    assert again.exit_code == 2
    assert text.split("_", 2)[2] not in again.output
    with memory.begin() as connection:
        assert tokens.identify(connection, text) is None
        lines = [deed for _, deed in audit.deeds(connection)]
    assert [line.action for line in lines] == [Action.TOKEN_REVOKED, Action.TOKEN_MADE]
    assert all(line.owner.startswith("operator/") and line.details["id"] == who.token for line in lines)
    assert text.split("_", 2)[2] not in str(lines)


def test_who_became_root_by_sudo_has_one_name(
    testyard: Command, memory: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "jane")
    made = json.loads(testyard("token", "make", "x", "--json").stdout)
    assert made["owner"] == "operator/jane"
    with memory.begin() as connection:
        assert [deed.owner for _, deed in audit.deeds(connection)] == ["operator/jane"]


def test_json(testyard: Command) -> None:
    made = json.loads(testyard("token", "make", "x", "--days", "1", "--group", "github/a", "--json").stdout)
    assert 86000 < made["expires"] - time.time() <= 86400
    lasting = json.loads(testyard("token", "make", "y", "--days", "0", "--json").stdout)
    assert lasting["expires"] is None
    listed = json.loads(testyard("token", "list", "--json").stdout)["tokens"]
    assert {item["id"] for item in listed} == {made["id"], lasting["id"]}
    assert [item["groups"] for item in listed if item["id"] == made["id"]] == [["github/a"]]
    assert "token" not in listed[0]
    ended = json.loads(testyard("token", "revoke", made["id"], "--json").stdout)
    assert ended["revoked"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("make", "x", "--owner", "jane"), "owner"),
        (("make", " "), "name"),
        (("make", "x", "--group", "testers"), "groups"),
        (("make", "x", "--scope", "all"), "scope"),
        (("revoke", "0123456789abcdef"), "0123456789abcdef"),
    ],
)
def test_what_is_wrong_is_named(testyard: Command, arguments: tuple[str, ...], word: str) -> None:
    result = testyard("token", *arguments)
    assert result.exit_code == 2
    assert word in result.output

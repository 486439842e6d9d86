# SPDX-License-Identifier: AGPL-3.0-or-later
"""``testyard audit``, and that refusals cannot fill the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from tests.unit.testyard.cli.conftest import Command
from testyard.index import index_engine
from testyard.intake import ANONYMOUS, Identity, audit, create_intake
from testyard.intake.audit import Action
from testyard.intake.gate import Gate
from testyard.intake.rates import take
from testyard.intake.schema import audit as table
from testyard.intake.schema import bucket
from testyard.settings import Settings

JANE = Identity("github/jane", "jane")
ID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"


@pytest.fixture
def memory(settings_file: Path) -> Iterator[Engine]:
    engine = index_engine(f"sqlite:///{settings_file.parent}/index.db", writer=True)
    create_intake(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def deeds(memory: Engine) -> None:
    with memory.begin() as connection:
        details = {"queue": "debci-noble-amd64", "package": "gzip", "parameters": {"triggers": ["gzip/1"]}}
        audit.record(connection, Action.ACCEPTED, JANE, address="192.0.2.1", request_id=ID, **details)
        audit.record(connection, Action.CANCELLED, JANE, request_id=ID)
        audit.record(connection, Action.LOGIN_REFUSED, ANONYMOUS, reason="a\x1b[2Jb")


def test_all_and_some(testyard: Command, deeds: None) -> None:
    lines = testyard("audit").stdout.splitlines()
    assert [
        words in line
        for words, line in zip(("login refused", "cancelled", "accepted"), lines[1:], strict=True)
    ]
    assert "\x1b" not in lines[1]
    assert "somebody" in lines[1]
    assert 'gzip, parameters: {"triggers": ["gzip/1"]}' in lines[3]
    assert ID[:8] in lines[3]
    assert "github/jane from 192.0.2.1" in lines[3]
    for options, count in (
        (("--owner", "github/jane"), 2),
        (("--request", ID.upper()), 2),
        (("--action", "request c"), 1),
        (("--action", "request"), 2),
        (("--action", "refused"), 1),
        (("--action", "login"), 0),
        (("--before", "2"), 1),
    ):
        found = json.loads(testyard("audit", *options, "--json").stdout)["deeds"]
        assert len(found) == count, options
    assert testyard("audit", "--action", "login").stdout == "Nothing is noted.\n"
    paged = testyard("audit", "-n", "1")
    assert "--before 3" in paged.stderr


def test_json(testyard: Command, deeds: None) -> None:
    newest, _, first = json.loads(testyard("audit", "--json").stdout)["deeds"]
    assert (newest["number"], newest["owner"], newest["action"]) == (3, "", "login refused")
    assert (first["request_id"], first["address"], first["details"]["package"]) == (ID, "192.0.2.1", "gzip")
    assert first["time"] <= newest["time"]


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--action", "dance"), "request accepted, request refused"), (("--request", "x"), "must be a UUID")],
)
def test_what_makes_no_sense(testyard: Command, options: tuple[str, ...], words: str) -> None:
    result = testyard("audit", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_flood_of_refusals_is_cut(memory: Engine) -> None:
    taken = 0
    with memory.begin() as connection:
        for number in range(250):
            who = JANE if number % 2 else ANONYMOUS
            taken += audit.record_refusal(connection, Action.REFUSED, who, address="192.0.2.1", reason="no")
        assert taken == connection.execute(select(func.count()).select_from(table)).scalar_one() == 200
        take(connection, audit.refusal_buckets("github/joe")[1:], 1795)
        for number in range(10):
            taken += audit.record_refusal(connection, Action.REFUSED, Identity(f"github/x{number}", "x"))
    assert taken == 205


def test_its_buckets_are_forgotten_when_they_are_full(
    memory: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testyard.intake.gate.randbelow", lambda each: 0)
    settings = Settings()
    gate = Gate.of(settings, memory)
    with memory.begin() as connection:
        audit.record_refusal(connection, Action.REFUSED, JANE)
        connection.execute(update(bucket).values(updated=0))
    gate.admit(ANONYMOUS, "192.0.2.1")
    with memory.connect() as connection:
        assert connection.execute(select(bucket.c.key)).scalars().all() == ["address/192.0.2.1"]

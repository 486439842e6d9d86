# SPDX-License-Identifier: AGPL-3.0-or-later
"""The reference is complete: settings, commands, events and message keys."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest
import typer
from pydantic import BaseModel

from testyard.adapters import amqp
from testyard.cli.app import app
from testyard.event import (
    COMPLETION_EXCHANGE,
    EVENTS_EXCHANGE,
    STATUS_EXCHANGE,
    CompletionMessage,
    Event,
    EventKind,
    StatusMessage,
)
from testyard.request import TestRequest
from testyard.run import EXIT_CODES, Phase
from testyard.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def setting_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += setting_keys(kind, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def command_lines(command: click.Command, words: str) -> list[tuple[str, click.Command]]:
    if not hasattr(command, "commands"):
        return [(words, command)]
    inner = command.commands.items()
    return [line for name, sub in inner for line in command_lines(sub, f"{words} {name}")]


COMMANDS = command_lines(typer.main.get_command(app), "testyard")
OPTIONS = sorted(
    {
        (line, "|".join(item.opts))
        for line, command in COMMANDS
        for item in command.params
        if item.opts[0].startswith("-")
    }
)
MESSAGE_KEYS = sorted(
    {field.name for kind in (StatusMessage, CompletionMessage, Event) for field in fields(kind)}
    | {
        field.name.replace("_", "-")
        for field in fields(TestRequest)
        if field.name not in ("package", "parameters")
    }
)
NAMES = [
    STATUS_EXCHANGE,
    COMPLETION_EXCHANGE,
    EVENTS_EXCHANGE,
    amqp.DEAD_LETTERS,
    amqp.HOOKS_QUEUE,
    amqp.HOOKS_LATER_QUEUE,
    amqp.INDEX_QUEUE,
    amqp.STATUS_QUEUE,
    amqp.SHOWN_QUEUE,
    amqp.NOTIFY_QUEUE,
]


def page(name: str) -> str:
    path = DOCS / name
    assert path.is_file(), f"docs/{name} is missing"
    return path.read_text()


def code(name: str) -> set[str]:
    """What a page sets in code: between backquotes, and in blocks."""
    text = page(name)
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.S | re.M))
    return {*re.findall(r"`([^`\n]+)`", text), *blocks.splitlines()}


def test_the_lists_are_not_empty() -> None:
    assert {"broker.url", "worker.timeouts.test", "store.key"} <= set(setting_keys(Settings))
    assert {"testyard request", "testyard local up", "testyard broker setup"} <= {
        line for line, _ in COMMANDS
    }
    assert {"swift_dir", "logtail", "request_id", "submit-time"} <= set(MESSAGE_KEYS)


@pytest.mark.parametrize("key", setting_keys(Settings))
def test_settings(key: str) -> None:
    section, _, name = key.rpartition(".")
    text = page("settings.md")
    heading = re.search(rf"^#+ .*\b{re.escape(section)}\b.*$", text, re.M)
    below = re.split(r"^#+ ", text[heading.end() :], maxsplit=1, flags=re.M)[0] if heading else ""
    assert f"`{key}`" in text or f"`{name}`" in below, f"docs/settings.md lacks {key}"


@pytest.mark.parametrize("line", [line for line, _ in COMMANDS])
def test_commands(line: str) -> None:
    words = line.removeprefix("testyard ")
    found = {*re.findall(r"^#+ (.*)$", page("cli.md"), re.M), *code("cli.md")}
    assert any(re.match(rf"(testyard )?{words}(?![\w-])", each) for each in found), (
        f"docs/cli.md lacks {line}"
    )


@pytest.mark.parametrize(("line", "option"), OPTIONS)
def test_options(line: str, option: str) -> None:
    assert re.search(rf"(?<![\w-])({option})(?![\w-])", page("cli.md")), (
        f"docs/cli.md lacks {option} of {line}"
    )


@pytest.mark.parametrize("kind", [*EventKind, *Phase])
def test_events_and_phases(kind: str) -> None:
    assert str(kind) in code("messages.md"), f"docs/messages.md lacks {kind}"


@pytest.mark.parametrize("key", MESSAGE_KEYS)
def test_message_keys(key: str) -> None:
    assert key in code("messages.md"), f"docs/messages.md lacks {key}"


@pytest.mark.parametrize("name", NAMES)
def test_names_on_the_broker(name: str) -> None:
    assert name in code("messages.md"), f"docs/messages.md lacks {name}"


@pytest.mark.parametrize("exit_code", EXIT_CODES)
def test_exit_codes(exit_code: int) -> None:
    assert re.search(rf"^\| {exit_code} \|", page("results.md"), re.M), f"docs/results.md lacks {exit_code}"

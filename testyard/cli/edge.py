# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all commands share: their options, their settings, and how errors are told."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from testyard.adapters.swift import SwiftStore
from testyard.errors import SettingsError, TestyardError
from testyard.local.state import LocalState, default_state_folder
from testyard.settings import Settings, load_settings

#: Exit codes besides 0 (done).
FAILED, USAGE, NOT_RUNNING, NOT_PASSED, INTERRUPTED = 1, 2, 3, 4, 130

_P = ParamSpec("_P")
_T = TypeVar("_T")

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="TESTYARD_STATE",
        metavar="DIR",
        help="Folder of the local instance.",
        show_default="~/.local/state/testyard",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class NoInstanceError(SettingsError):
    """Neither settings nor a local instance: nothing that a command could talk to."""

    def __init__(self, folder: Path, *, chosen: bool) -> None:
        option = f" --state {shlex.quote(str(folder))}" if chosen else ""
        super().__init__(
            f"There is no instance in {folder}.",
            resolution=f"scripts/local or testyard local up{option} makes one; --state names another folder, "
            "TESTYARD_CONFIG a settings file.",
        )


class UsageError(TestyardError):
    """An argument or option that makes no sense here."""


def explained(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn an error or Ctrl-C into words on stderr, and its exit code."""

    @wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except TestyardError as error:
            show_error(error)
            raise typer.Exit(_exit_code(error)) from error
        except KeyboardInterrupt:
            say("Interrupted.", style="yellow")
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def _exit_code(error: TestyardError) -> int:
    if isinstance(error, NoInstanceError):
        return NOT_RUNNING
    return USAGE if isinstance(error, UsageError) else FAILED


def show_error(error: TestyardError) -> None:
    """Brief, details, resolution on stderr."""
    say(error.brief, style="bold red")
    for text in filter(None, (error.details, error.resolution)):
        say(text)


def say(text: str, *, style: str = "") -> None:
    """A line for people beside the output proper: on stderr, so that pipes stay clean."""
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


def command_settings(state: Path | None) -> Settings:
    """``TESTYARD_CONFIG`` if it is set, else the local instance's settings, else the environment's.

    Raises SettingsError, NoInstanceError if there are none at all.
    """
    if "TESTYARD_CONFIG" not in os.environ or state is not None:
        instance = LocalState.load(state)
        if instance is not None:
            os.environ["TESTYARD_CONFIG"] = str(instance.settings_file)
        elif state is not None or not environment_settings():
            raise NoInstanceError(state or default_state_folder(), chosen=state is not None)
    return load_settings()


def command_store(settings: Settings) -> SwiftStore:
    """The store, for somebody who waits: one more attempt, not the 31 s that a worker has time for."""
    return SwiftStore(settings.store.model_copy(update={"retries": min(1, settings.store.retries)}))


def environment_settings() -> list[str]:
    """The names of single settings in the environment: ``TESTYARD_SITE__URL`` and the like."""
    return sorted(name for name in os.environ if name.startswith("TESTYARD_") and "__" in name)


def console() -> Console:
    """For tables on stdout: an id is never cut, also where stdout is no terminal."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)


# JSON may hold these as they are, a terminal may obey them
_STEERING = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def print_json(value: Any) -> None:
    """JSON for programs; a terminal is not steered by it either."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A question before many things are done at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from testyard.cli.edge import UsageError

#: So many are done without a question.
FEW = 3

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many they are.")]


def confirm(count: int, noun: str, *, yes: bool, few: int = FEW) -> None:
    """Ask if there are more than a ``few``. Raises UsageError if the answer is no, or nobody can answer."""
    if yes or count <= few:
        return
    question = f"{count} {noun if count == 1 else f'{noun}s'}: go on?"
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} Nothing was done.", resolution="Say so with --yes, or look with --dry-run."
        )
    if not typer.confirm(question, err=True):
        raise UsageError("Nothing was done.")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a stage's name or file to its settings; all that is wrong with them is told at once."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.settings.base import Stage
from infra.settings.check import problems
from infra.settings.stage import Settings
from testyard.errors import SettingsError

STAGES = Path(__file__).parents[1] / "stages"
_REMEDY = "Nothing was made. docs/infra.md says what each key means."


def stage_path(stage: str) -> Path:
    """The file of a stage: ``devel`` is one of ours, ``./mine.toml`` the operator's own.

    Raises SettingsError if there is none.
    """
    own = stage.endswith(".toml")
    path = Path(stage) if own else STAGES / f"{stage}.toml"
    if (own or stage in list(Stage)) and path.is_file():
        return path
    raise SettingsError(
        f"stage: no {'file' if own else 'stage'} {stage!r}",
        resolution=f"Name one of {', '.join(Stage)}, or a TOML file of your own.",
    )


def load_settings(stage: str) -> Settings:
    """Read the settings of ``stage``.

    Raises SettingsError that names the file and every wrong key, with a remedy.
    """
    path = stage_path(stage)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise SettingsError(f"{path.name}: not a TOML file", details=str(error)) from error
    return check_settings(found, path.name)


def check_settings(found: dict[str, Any], name: str) -> Settings:
    """The settings that ``found`` are. Raises SettingsError as `load_settings` does."""
    try:
        settings = Settings.model_validate(found)
        wrong: list[str] = []
    except ValidationError as error:
        wrong = _explain(error)
        rest = _without(found, error)
        if rest is None:
            raise SettingsError(
                f"{name}: wrong settings", details="\n".join(wrong), resolution=_REMEDY
            ) from error
        settings = rest
    wrong += [str(problem) for problem in problems(settings)]
    if wrong:
        raise SettingsError(f"{name}: wrong settings", details="\n".join(wrong), resolution=_REMEDY)
    return settings


def _without(found: dict[str, Any], error: ValidationError) -> Settings | None:
    """What the settings are if each wrong value is left out, so that its default counts.

    So that what is wrong elsewhere is told too; None where a value is needed.
    """
    left = copy.deepcopy(found)
    for each in sorted((e["loc"] for e in error.errors()), key=lambda loc: list(map(str, loc)), reverse=True):
        *path, last = each or ("",)
        place: Any = left
        for part in path:
            place = place.get(part) if isinstance(place, dict) else _item(place, part)
        if not isinstance(place, dict) or last not in place:
            return None
        del place[last]
    try:
        return Settings.model_validate(left)
    except ValidationError:
        return None


def _item(place: Any, index: int | str) -> Any:
    return place[index] if isinstance(place, list) and isinstance(index, int) and index < len(place) else None


def _explain(error: ValidationError) -> list[str]:
    """A line per wrong field. A list that is too short because its items are wrong has none."""
    errors = error.errors()
    inner = {e["loc"][:depth] for e in errors for depth in range(len(e["loc"]))}
    return [
        ": ".join(filter(None, [".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")]))
        for e in errors
        if e["type"] != "too_short" or e["loc"] not in inner
    ]

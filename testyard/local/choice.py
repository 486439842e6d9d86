# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings that a person chooses for an instance: ``SECTION.KEY=VALUE``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from testyard.errors import SettingsError
from testyard.intake.policyfile import read_policy
from testyard.intake.projects import Projects
from testyard.local.toml import Sections, Value
from testyard.settings import Index, Intake, Notify, Topology, Worker, setting_problem

#: The rest (broker, store, database, site) is made for each instance.
_SECTIONS: Mapping[str, type[BaseModel]] = {
    "worker": Worker,
    "index": Index,
    "topology": Topology,
    "intake": Intake,
    "notify": Notify,
}


def parse_choices(texts: Iterable[str]) -> dict[str, dict[str, Value]]:
    """``worker.slots=2`` and the like as sections. The value is TOML; what is none is taken as text.

    Raises SettingsError naming what is wrong.
    """
    found: dict[str, dict[str, Value]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().rpartition(".")
        if not (equals and dot and key) or section.partition(".")[0] not in _SECTIONS:
            raise SettingsError(
                f"--set {text}: not SECTION.KEY=VALUE with section {', '.join(_SECTIONS)}",
                resolution="For example: --set worker.slots=2. docs/settings.md lists the keys; those of "
                "broker, store, database and site are the instance's own.",
            )
        found.setdefault(section, {})[key] = _value(value)
    return found


def check_choices(sections: Sections) -> None:
    """Raises SettingsError naming the key that is unknown or has a wrong value."""
    for name, model in _SECTIONS.items():
        try:
            model.model_validate(_whole(name, sections))
        except ValidationError as error:
            lines = [setting_problem(found, model, name) for found in error.errors()]
            raise SettingsError(
                f"--set: {lines[0]}",
                details="\n".join(lines[1:]),
                resolution="docs/settings.md lists the keys.",
            ) from error


def check_files(sections: Sections) -> None:
    """The files that they name. Raises SettingsError: an instance whose parts do not start has no pages."""
    intake = Intake.model_validate(_whole("intake", sections))
    if intake.projects is not None:
        Projects.read(intake.projects)
    if intake.policy is not None:
        read_policy(intake.policy)


def _whole(name: str, sections: Sections) -> dict[str, Any]:
    values: dict[str, Any] = dict(sections.get(name, {}))
    for section, inner in sections.items():
        if section.startswith(f"{name}."):
            values[section.removeprefix(f"{name}.")] = dict(inner)
    return values


def _value(text: str) -> Value:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if isinstance(value, str | int | float) or is_list else text

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tables of TOML files that operators write beside the settings; errors name file, table and key.

Standard library only: the webhook function must start fast.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testyard.errors import SettingsError

#: How a secret may be given: itself, in a file that is named, or in a variable that is named.
SECRET_ENDS = ("", "_file", "_env")


def read_toml(setting: str, path: Path) -> dict[str, Any]:
    """A file that the setting names. Raises SettingsError if it cannot be read, or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting}: {path} is no TOML: {error}") from error


@dataclass(frozen=True)
class FileTable:
    """One table. ``place`` names it in errors; ``numbers`` are taken as text, too, if that is set."""

    place: str
    values: Mapping[str, Any]
    numbers: bool = False

    @classmethod
    def of(cls, place: str, table: object, known: Collection[str], *, numbers: bool = False) -> FileTable:
        """Raises SettingsError if it is no table, or has a key that is not ``known``."""
        if not isinstance(table, dict):
            raise cls(place, {}).wrong("must be a table")
        found = cls(place, table, numbers)
        if unknown := sorted(set(table) - set(known)):
            raise found.wrong(f"{unknown[0]}: no such key; known: {', '.join(known)}")
        return found

    def text(self, key: str) -> str:
        """Empty if it is not given. Raises SettingsError."""
        value = self.values.get(key, "")
        if self.numbers and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.wrong(f"{key}: must be text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Of a list, or of one text alone. Raises SettingsError."""
        value = self.values[key]
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.wrong(f"{key}: must be text, or a list of texts")
        return tuple(items)

    def secret(self, key: str) -> str:
        """What is given in one of three ways (`SECRET_ENDS`), empty if in none. Raises SettingsError."""
        given = [f"{key}{end}" for end in SECRET_ENDS if f"{key}{end}" in self.values]
        if len(given) > 1:
            raise self.wrong(f"{given[0]} and {given[1]} are given; one is enough")
        if not given:
            return ""
        value = self.text(given[0])
        if given[0].endswith("_env"):
            if value not in os.environ:
                raise self.wrong(f"{given[0]}: there is no variable {value}")
            return os.environ[value].strip()
        if given[0].endswith("_file"):
            try:
                return Path(value).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise self.wrong(f"{given[0]}: {value} cannot be read") from error
        return value

    def wrong(self, problem: str) -> SettingsError:
        """What is wrong in this table."""
        return SettingsError(f"{self.place}: {problem}")

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is told of which runs, and how: one TOML file, `notify.rules` (docs/notifications.md)."""

from __future__ import annotations

import base64
import binascii
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testyard.errors import SettingsError

#: What apprise is used for here: mail, Matrix, ntfy.
SCHEMES = ("mailto", "mailtos", "matrix", "matrixs", "ntfy", "ntfys")
_LEAST_SECRET = 16


class Kind(StrEnum):
    """What a run can be news of. ``all`` is every run."""

    REGRESSION = "regression"
    FIX = "fix"
    ALL = "all"


@dataclass(frozen=True)
class Destination:
    """Where to tell: ``service``, an address as apprise has them, or ``webhook`` with its ``secret``."""

    name: str
    service: str = field(default="", repr=False)
    webhook: str = field(default="", repr=False)
    secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Rule:
    """Patterns as a shell has them; all of a rule must fit. ``archives``: ``owner-name``, empty for none."""

    to: tuple[str, ...]
    packages: tuple[str, ...] = ("*",)
    releases: tuple[str, ...] = ("*",)
    architectures: tuple[str, ...] = ("*",)
    archives: tuple[str, ...] = ("",)
    requesters: tuple[str, ...] = ("*",)
    kinds: tuple[str, ...] = (Kind.REGRESSION, Kind.FIX)

    def fits(self, kind: Kind, **of_run: str) -> bool:
        """True if ``kind`` is one of its own, and each of a run's values fits."""
        asked = {"packages": "package", "releases": "release", "architectures": "architecture"}
        asked |= {"archives": "archive", "requesters": "requester"}
        return (kind in self.kinds or Kind.ALL in self.kinds) and all(
            any(fnmatchcase(of_run[value], pattern) for pattern in getattr(self, name))
            for name, value in asked.items()
        )


@dataclass(frozen=True)
class Rules:
    """All of a file."""

    rules: tuple[Rule, ...] = ()
    destinations: Mapping[str, Destination] = field(default_factory=dict)

    def told_of(self, kind: Kind, **of_run: str) -> tuple[Destination, ...]:
        """Whom to tell of a run, each once."""
        names = [name for rule in self.rules if rule.fits(kind, **of_run) for name in rule.to]
        return tuple(self.destinations[name] for name in dict.fromkeys(names))


def read_rules(path: Path | None) -> Rules:
    """Those of a file; none without one. Raises SettingsError naming the table and key that is wrong."""
    if path is None:
        return Rules()
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"notify.rules: {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"notify.rules: {path} is no TOML: {error}") from error
    tables, found = content.pop("destinations", {}), content.pop("rules", [])
    if content or not isinstance(tables, dict) or not isinstance(found, list):
        raise SettingsError(f"notify.rules: {path} must hold [destinations.NAME] and [[rules]] only")
    destinations = {name: _destination(name, table) for name, table in tables.items()}
    rules = tuple(_rule(f"rules[{number}]", table, destinations) for number, table in enumerate(found))
    return Rules(rules, destinations)


def _rule(place: str, table: object, destinations: Mapping[str, Destination]) -> Rule:
    known = tuple(Rule.__dataclass_fields__)
    values = {key: _texts(place, key, value) for key, value in _table(place, table, known).items()}
    if not values.get("to"):
        raise _wrong(place, "to: must name a destination")
    for name in values["to"]:
        if name not in destinations:
            raise _wrong(place, f"to: there is no [destinations.{name}]")
    for kind in values.get("kinds", ()):
        if kind not in list(Kind):
            raise _wrong(place, f"kinds: {kind[:40]!r} is none of {', '.join(Kind)}")
    return Rule(**values)


def _destination(name: str, table: object) -> Destination:
    place = f"destinations.{name}"
    known = ("apprise", "apprise_file", "apprise_env", "webhook", "secret", "secret_file", "secret_env")
    values = _table(place, table, known)
    service, webhook = _secret(place, "apprise", values), _text(place, "webhook", values)
    if bool(service) == bool(webhook):
        raise _wrong(place, "needs apprise (or apprise_file, apprise_env) or webhook, and not both")
    if service:
        if service.partition("://")[0] not in SCHEMES:
            raise _wrong(place, f"apprise: must be an address that begins with one of {', '.join(SCHEMES)}")
        return Destination(name, service=service)
    try:
        parts = urlsplit(webhook)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    except ValueError:
        good = False
    if not good:
        raise _wrong(place, "webhook: must be an http(s) address without credentials")
    return Destination(name, webhook=webhook, secret=_key(place, _secret(place, "secret", values)))


def _key(place: str, secret: str) -> bytes:
    """Of ``whsec_…`` what it stands for, else the text itself."""
    try:
        key = (
            base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            if secret.startswith("whsec_")
            else secret.encode()
        )
    except binascii.Error as error:
        raise _wrong(place, "secret: what follows whsec_ is no base64") from error
    if len(key) < _LEAST_SECRET:
        raise _wrong(place, f"secret (or secret_file, secret_env): needs {_LEAST_SECRET} characters or more")
    return key


def _table(place: str, table: object, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(table, dict):
        raise _wrong(place, "must be a table")
    if unknown := sorted(set(table) - set(known)):
        raise _wrong(place, f"{unknown[0]}: no such key; known: {', '.join(known)}")
    return table


def _secret(place: str, key: str, table: Mapping[str, Any]) -> str:
    given = [each for each in (key, f"{key}_file", f"{key}_env") if each in table]
    if len(given) > 1:
        raise _wrong(place, f"{given[0]} and {given[1]} are given; one is enough")
    value = _text(place, given[0], table) if given else ""
    if given and given[0].endswith("_env"):
        if value not in os.environ:
            raise _wrong(place, f"{given[0]}: there is no variable {value}")
        return os.environ[value].strip()
    if given and given[0].endswith("_file"):
        try:
            return Path(value).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(place, f"{given[0]}: {value} cannot be read") from error
    return value


def _text(place: str, key: str, table: Mapping[str, Any]) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise _wrong(place, f"{key}: must be text")
    return value


def _texts(place: str, key: str, value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _wrong(place, f"{key}: must be text, or a list of texts")
    return tuple(items)


def _wrong(place: str, problem: str) -> SettingsError:
    return SettingsError(f"notify.rules: {place[:100]}: {problem}")

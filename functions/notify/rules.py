# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is told of which runs, and how: one TOML file, `notify.rules` (docs/notifications.md)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from testyard.errors import SettingsError
from testyard.filetable import FileTable, read_toml

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
    content = read_toml("notify.rules", path)
    tables, found = content.pop("destinations", {}), content.pop("rules", [])
    if content or not isinstance(tables, dict) or not isinstance(found, list):
        raise SettingsError(f"notify.rules: {path} must hold [destinations.NAME] and [[rules]] only")
    destinations = {name: _destination(name, table) for name, table in tables.items()}
    rules = tuple(_rule(f"rules[{number}]", table, destinations) for number, table in enumerate(found))
    return Rules(rules, destinations)


def _rule(place: str, table: object, destinations: Mapping[str, Destination]) -> Rule:
    given = _table(place, table, tuple(Rule.__dataclass_fields__))
    values = {key: given.texts(key) for key in given.values}
    if not values.get("to"):
        raise given.wrong("to: must name a destination")
    for name in values["to"]:
        if name not in destinations:
            raise given.wrong(f"to: there is no [destinations.{name}]")
    for kind in values.get("kinds", ()):
        if kind not in list(Kind):
            raise given.wrong(f"kinds: {kind[:40]!r} is none of {', '.join(Kind)}")
    return Rule(**values)


def _destination(name: str, table: object) -> Destination:
    known = ("apprise", "apprise_file", "apprise_env", "webhook", "secret", "secret_file", "secret_env")
    given = _table(f"destinations.{name}", table, known)
    service, webhook = given.secret("apprise"), given.text("webhook")
    if bool(service) == bool(webhook):
        raise given.wrong("needs apprise (or apprise_file, apprise_env) or webhook, and not both")
    if service:
        if service.partition("://")[0] not in SCHEMES:
            raise given.wrong(f"apprise: must be an address that begins with one of {', '.join(SCHEMES)}")
        return Destination(name, service=service)
    try:
        parts = urlsplit(webhook)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    except ValueError:
        good = False
    if not good:
        raise given.wrong("webhook: must be an http(s) address without credentials")
    return Destination(name, webhook=webhook, secret=_key(given, given.secret("secret")))


def _key(given: FileTable, secret: str) -> bytes:
    """Of ``whsec_…`` what it stands for, else the text itself."""
    try:
        key = (
            base64.b64decode(secret.removeprefix("whsec_"), validate=True)
            if secret.startswith("whsec_")
            else secret.encode()
        )
    except binascii.Error as error:
        raise given.wrong("secret: what follows whsec_ is no base64") from error
    if len(key) < _LEAST_SECRET:
        raise given.wrong(f"secret (or secret_file, secret_env): needs {_LEAST_SECRET} characters or more")
    return key


def _table(place: str, table: object, known: tuple[str, ...]) -> FileTable:
    return FileTable.of(f"notify.rules: {place[:100]}", table, known)

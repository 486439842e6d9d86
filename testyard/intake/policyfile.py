# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file ``intake.policy``: read, and read again when it changes (docs/policy.md)."""

from __future__ import annotations

import logging
import re
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testyard.errors import SettingsError
from testyard.intake.policy import WORDS, GitHosts, Policy, Right, Rule

log = logging.getLogger(__name__)

_NAME = re.compile(r"@?[^\s/@]+/[^\s@]+")
_PATTERN = re.compile(r"[a-z0-9.+*?\[\]!_-]+")
_RULE_KEYS = ("who", "may", "may_not", "packages", "contexts", "releases")
_GIT_KEYS = ("hosts", "internal")
_HEADER = re.compile(r"\s*\[\[\s*rule\s*\]\]")


class PolicyFile:
    """A policy that is as the file is. For any number of threads."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError if it cannot be read now."""
        self._path = path
        self._lock = threading.Lock()
        self._seen = self._state()
        self._policy = read_policy(path)

    def policy(self) -> Policy:
        """The newest one that could be read: a mistake in a file that was right before changes nothing."""
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._policy = read_policy(self._path)
                    log.info("%s: read again", self._path)
                except SettingsError as error:
                    log.error("%s; what was there before still holds", error.brief)
            return self._policy

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read_policy(path: Path) -> Policy:
    """Raises SettingsError naming line and key."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"intake.policy: {path}: {words}") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str = "policy") -> Policy:
    """Raises SettingsError as `read_policy`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"intake.policy: {name}: {error}") from error
    place = _Place(text, name)
    for key in data:
        if key not in ("rule", "git"):
            raise place.error(None, key, "is no key here; there are [[rule]] and [git]")
    rules = data.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise place.error(None, "rule", "write each rule below a line [[rule]]")
    made = tuple(_rule(rule, number, place) for number, rule in enumerate(rules))
    return Policy(made, _git(data.get("git", {}), place))


def _rule(data: Mapping[str, Any], number: int, place: _Place) -> Rule:
    for key in data:
        if key not in _RULE_KEYS:
            raise place.error(number, key, f"is no key of a rule; there are {', '.join(_RULE_KEYS)}")
    if "who" not in data:
        raise place.error(number, "who", "is missing")
    if ("may" in data) == ("may_not" in data):
        raise place.error(number, "may", "a rule has either may or may_not")
    key = "may" if "may" in data else "may_not"
    who = _texts(data["who"], number, "who", place)
    for word in who:
        if word not in WORDS and not _NAME.fullmatch(word):
            words = ", ".join(f'"{known}"' for known in WORDS)
            raise place.error(
                number, "who", f"{word!r}: write provider/name, @provider/group, or one of {words}"
            )
    patterns = {name: _patterns(data[name], number, name, place) for name in _RULE_KEYS[3:] if name in data}
    return Rule(who, _rights(data[key], number, key, place), allows=key == "may", **patterns)


def _rights(value: Any, number: int, key: str, place: _Place) -> frozenset[Right]:
    words = _texts(value, number, key, place)
    for word in words:
        if word != "all" and word not in set(Right):
            raise place.error(number, key, f"{word!r} is none of all, {', '.join(Right)}")
    return frozenset(Right) if "all" in words else frozenset(Right(word) for word in words)


def _patterns(value: Any, number: int, key: str, place: _Place) -> tuple[str, ...]:
    found = _texts(value, number, key, place)
    for item in found:
        if not _PATTERN.fullmatch(item):
            raise place.error(number, key, f"{item!r} fits no name: small letters, digits and * ? [ ] . + -")
    return found


def _git(data: Any, place: _Place) -> GitHosts:
    if not isinstance(data, dict):
        raise place.error(None, "git", "write a line [git] and below it hosts and internal")
    for key in data:
        if key not in _GIT_KEYS:
            raise place.error(None, key, f"is no key of [git]; there are {', '.join(_GIT_KEYS)}")
    internal = data.get("internal", False)
    if not isinstance(internal, bool):
        raise place.error(None, "internal", "must be true or false")
    return GitHosts(_texts(data["hosts"], None, "hosts", place) if "hosts" in data else (), internal)


def _texts(value: Any, number: int | None, key: str, place: _Place) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        raise place.error(number, key, "must be a text in quotes, or a list of such texts")
    return tuple(items)


class _Place:
    """Where in the file something stands, as far as that is found."""

    def __init__(self, text: str, name: str) -> None:
        self._lines, self._name = text.splitlines(), name

    def error(self, rule: int | None, key: str, problem: str) -> SettingsError:
        """``rule`` counts from 0; None if it is not about one."""
        line = self._line(rule, key)
        where = f"{self._name}, line {line}" if line else self._name
        about = f"rule {rule + 1}: " if rule is not None else ""
        return SettingsError(
            f"intake.policy: {where}: {about}{key}: {problem}", resolution="docs/policy.md has examples."
        )

    def _line(self, rule: int | None, key: str) -> int | None:
        begin, end = 0, len(self._lines)
        if rule is not None:
            headers = [number for number, line in enumerate(self._lines) if _HEADER.match(line)]
            if rule >= len(headers):
                return None
            begin, end = headers[rule], (headers[rule + 1 :] or [end])[0]
        wanted = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}[\"']?\s*[\]=]")
        for number in range(begin, end):
            if wanted.match(self._lines[number]):
                return number + 1
        return begin + 1 if rule is not None else None

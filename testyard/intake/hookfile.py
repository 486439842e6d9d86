# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a project wants to be tested: its `.testyard.toml`, or the address of its hook (docs/hooks.md)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from testyard.errors import RequestError
from testyard.intake.hook import Hook, HookKind

#: The file, in the root of the repository.
FILE_NAME = ".testyard.toml"
MOST_TESTS = 20
#: Bytes of the file: 20 tests in full take 6 kB.
MOST_BYTES = 16 * 1024
#: Dots in a line. The reader of TOML takes the square of a key's parts: 80 kB of ``a.a.a…`` took 59 s.
_MOST_DOTS = 100

_LISTS = ("release", "arch", "ppa", "env", "on", "branches", "labels")
_TEXTS = ("name", "package", "build-git", "test-git", "testname")
_EVENTS = ("pull-request", "push")
#: What a hook's address may say; autopkgtest-cloud's parameters.
_ADDRESS = ("release", "arch", "package", "ppa", "env", "build-git", "test-git", "testname")
_COMMAND = re.compile(r"/(test|retest|cancel)(?=\s|$)(.*)")
_MOST_COMMANDS = 5


@dataclass(frozen=True)
class Ask:
    """One ``[[test]]``: for each of its releases and architectures a request. Empty is: the usual ones."""

    name: str = ""
    release: tuple[str, ...] = ()
    arch: tuple[str, ...] = ()
    package: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on: tuple[str, ...] = ("pull-request",)
    branches: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def wanted(self, hook: Hook, *, labelled: bool = False) -> bool:
        """True if it is for this event, branch and labels; ``labelled``: as if it had all labels."""
        event = "push" if hook.kind is HookKind.PUSHED else "pull-request"
        if event not in self.on or (self.branches and hook.branch not in self.branches):
            return False
        if hook.kind is HookKind.LABELLED:  # what needs no label was tested when it was opened
            return bool(self.labels) and bool(_given(hook) & set(self.labels))
        if not self.labels or event == "push" or labelled:
            return True
        # whoever gave the label has looked at another push than this one
        return not hook.stranger and bool(hook.labels & set(self.labels))


def _given(hook: Hook) -> frozenset[str]:
    if hook.added is None:
        return frozenset() if hook.stranger else hook.labels
    return hook.added & hook.labels


@dataclass(frozen=True)
class Command:
    """One line of a comment: ``/test``, ``/retest`` or ``/cancel``, and the names behind it."""

    verb: str
    names: tuple[str, ...] = ()


def asks_of_address(query: str) -> tuple[Ask, ...]:
    """What a hook's address asks for; nothing if it has no parameters. Raises RequestError naming one."""
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise RequestError("address", f"too many parameters ({error})") from error
    if not given:
        return ()
    values: dict[str, list[str]] = {}
    for key, value in given:
        if key not in _ADDRESS:
            raise RequestError(_shown(key), f"is no parameter of a hook; there are: {', '.join(_ADDRESS)}")
        values.setdefault(key, []).append(value)
    table: dict[str, Any] = {}
    for key, found in values.items():
        if key in _LISTS:
            parts = [part for text in found for part in text.split(";")] if key == "env" else found
            table[key] = [part for part in parts if part]
        elif len(found) > 1:
            raise RequestError(key, "is given more than once")
        else:
            table[key] = found[0]
    # a hook that was set up for pushes, too, as autopkgtest-cloud's guide says, tests pull requests only
    return (_ask(table, ""),)


def asks_of_file(content: bytes) -> tuple[Ask, ...]:
    """What a `.testyard.toml` asks for. Raises RequestError naming the key."""
    if len(content) > MOST_BYTES:
        raise RequestError(FILE_NAME, f"has {len(content)} bytes; {MOST_BYTES} at most")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.count(b".") > _MOST_DOTS:
            raise RequestError(FILE_NAME, f"line {number} has more than {_MOST_DOTS} dots")
    try:
        data = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise RequestError(FILE_NAME, f"no TOML: {str(error)[:200]}") from error
    tests = data.pop("test", [])
    if data:
        raise RequestError(f"{FILE_NAME}: {_shown(min(data))}", "is no key; there are tables [[test]]")
    if not isinstance(tests, list) or not all(isinstance(table, dict) for table in tests) or not tests:
        raise RequestError(FILE_NAME, "needs a table [[test]], or several")
    if len(tests) > MOST_TESTS:
        raise RequestError(FILE_NAME, f"has {len(tests)} tables [[test]]; {MOST_TESTS} at most")
    return tuple(_ask(table, f"{FILE_NAME}: test {number}: ") for number, table in enumerate(tests, start=1))


def asks_of_project(defaults: Mapping[str, Any]) -> tuple[Ask, ...]:
    """What the operator's file of projects says of this one; nothing if it says nothing."""
    return (_ask({key: _plain(value) for key, value in defaults.items()}, ""),) if defaults else ()


def commands_of(comment: str) -> tuple[Command, ...]:
    """The commands in a comment: each at the beginning of a line; 5 at most."""
    found = (_COMMAND.fullmatch(line.rstrip()) for line in comment.splitlines())
    commands = (Command(match[1], tuple(match[2].split()[:20])) for match in found if match)
    return tuple(dict.fromkeys(commands))[:_MOST_COMMANDS]


def _ask(table: Mapping[str, Any], place: str) -> Ask:
    known = (*_TEXTS, *_LISTS)
    if unknown := sorted(set(table) - set(known)):
        raise RequestError(f"{place}{_shown(unknown[0])}", f"is no key; there are: {', '.join(known)}")
    texts = {key: _text(table[key], f"{place}{key}") for key in _TEXTS if key in table}
    lists = {key: _list(table[key], f"{place}{key}") for key in _LISTS if key in table}
    for event in lists.get("on", ()):
        if event not in _EVENTS:
            raise RequestError(f"{place}on", f"{event[:80]!r} is none of {', '.join(_EVENTS)}")
    parameters: dict[str, Any] = {
        key: texts[key] for key in ("build-git", "test-git", "testname") if texts.get(key)
    }
    if lists.get("ppa"):
        parameters["ppas"] = list(lists["ppa"])
    if lists.get("env"):
        parameters["env"] = list(lists["env"])
    return Ask(
        name=texts.get("name", ""),
        release=lists.get("release", ()),
        arch=lists.get("arch", ()),
        package=texts.get("package", ""),
        parameters=parameters,
        on=lists.get("on", ("pull-request",)),
        branches=lists.get("branches", ()),
        labels=lists.get("labels", ()),
    )


def _shown(key: str) -> str:
    """Somebody's key, in an error: as it is if it looks like one."""
    return key if re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", key) else repr(key)[:80]


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise RequestError(place, "must be text of 1,000 characters at most")
    return value


def _list(value: Any, place: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or len(items) > 100 or not _all_short(items):
        raise RequestError(place, "must be text, or a list of texts: 100 at most, each of 1,000 characters")
    return tuple(dict.fromkeys(items))


def _all_short(items: Iterable[Any]) -> bool:
    return all(isinstance(item, str) and len(item) <= 1000 for item in items)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

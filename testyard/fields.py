# SPDX-License-Identifier: AGPL-3.0-or-later
"""The forms of a request's fields, one function each.

Every function takes what JSON gave and returns the checked value, or raises RequestError naming
the field and what would be right. Forms: the package and trigger rules of Debian policy 5.6.1 and
5.6.12, the rest as Ubuntu's autopkgtest-cloud documents them.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from testyard.errors import RequestError
from testyard.ppa import Ppa

_PACKAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.+-]*")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_VERSION = re.compile(r"[a-zA-Z0-9.+:~-]+")
_ENV = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*=[^\x00-\x1f\x7f]*")
#: What autopkgtest-cloud tells a test its triggers by; migration software reads it in the result.
_TRIGGERS = "ADT_TEST_TRIGGERS"
_ENV_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# no user:password@: the address stands in autopkgtest's arguments and in the public log. A host is plain:
# git decodes 127.0.0%2e1 after whoever has checked it could not
_GIT = re.compile(
    r"(?:https?|git)://(?:[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?(?:/[a-zA-Z0-9._/~+%:-]*)?"
    r"(?:#[a-zA-Z0-9._/+~][a-zA-Z0-9._/+~-]*)?"
)
_TEST = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.+_-]*")
_SWIFT_USER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._@-]*")
_MAX_ITEMS = 1000
# each one's key may be asked for, and keep a slot waiting for 40 s
_MAX_PPAS = 20
_MAX_LINE = 1000
_MAX_ITEM = 4096


def kind(value: Any) -> str:
    """How a person names the JSON type of a value."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def package_name(value: str) -> str:
    """A source package's name (or the name that stands for a git project)."""
    if len(value) > 200:
        raise RequestError("package", "longer than 200 characters")
    if not _PACKAGE.fullmatch(value) or ".." in value:
        raise RequestError(
            "package", f"{value!r} is no source package name (letters, digits and . + - only, no '..')"
        )
    return value


def source_name(value: str) -> str:
    """A source package in an archive, which has small letters only (Debian policy 5.6.1)."""
    if package_name(value) != value.lower():
        raise RequestError("package", f"{value!r} has capital letters; source packages have none")
    return value


def triggers(value: Any) -> tuple[str, ...]:
    """Triggers as ``source/version`` each.

    Debian's britney joins several with blanks, in one string or in the list's only item.
    """
    items = value.split() if isinstance(value, str) else _strings("triggers", value)
    return tuple(_trigger(part) for item in items for part in item.split())


def ppas(value: Any) -> tuple[str, ...]:
    """Archives as ``[user:token@]owner/name[:fingerprint]`` each."""
    items = _strings("ppas", value)
    if len(items) > _MAX_PPAS:
        raise RequestError("ppas", f"names {len(items)} archives; {_MAX_PPAS} at most")
    for item in items:
        Ppa.parse(item)
    return items


def environment(value: Any) -> tuple[str, ...]:
    """Variables for the test as ``NAME=value`` each."""
    items = _strings("env", value)
    for item in items:
        name, equals, _ = item.partition("=")
        if equals and not _ENV_NAME.fullmatch(name):
            raise RequestError(
                "env",
                f"{name[:80]!r} is no name of a variable: letters, digits and _, and no digit first",
            )
        if name == _TRIGGERS:
            raise RequestError("env", f"{_TRIGGERS} is set from triggers: name them there")
        if not _ENV.fullmatch(item):
            raise RequestError("env", f"{item[:80]!r} is not NAME=value on one line")
    return items


def git_url(name: str, value: Any) -> str | None:
    """A repository as ``URL`` or ``URL#branch``; the older ``URL branch`` is turned into the latter."""
    if value is None:
        return None
    url = "#".join(_text(name, value).split())
    if not _GIT.fullmatch(url) or len(url) > _MAX_LINE:
        raise RequestError(
            name, "must be an http(s) or git address without credentials, optionally with #branch"
        )
    return url


def flag(name: str, value: Any) -> bool:
    """A switch: ``"1"``, 1 or true; absent, empty, 0 or false is off."""
    if value in (None, "", "0", 0, False):
        return False
    if value in ("1", 1, True):
        return True
    raise RequestError(name, 'must be "1" or absent')


def test_name(value: Any) -> str | None:
    """The one test of the package to run."""
    if value is None:
        return None
    name = _text("testname", value)
    if not _TEST.fullmatch(name) or len(name) > 200:
        raise RequestError("testname", f"{name[:80]!r} is no test name")
    return name


test_name.__test__ = False  # type: ignore[attr-defined]  # its name begins with test; not a test


def line(name: str, value: Any) -> str | None:
    """Any text on one line, without control characters."""
    if value is None:
        return None
    text = _text(name, value)
    if len(text) > _MAX_LINE or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise RequestError(name, "must be one line without control characters")
    return text


def swift_user(value: Any) -> str | None:
    """The store account that may read a private run."""
    if value is None:
        return None
    text = _text("swiftuser", value)
    if not _SWIFT_USER.fullmatch(text) or len(text) > 200:
        raise RequestError("swiftuser", "letters, digits and . _ @ - only")
    return text


def readable_by(value: Any) -> tuple[str, ...]:
    """People or teams that may read a private run."""
    items = (value,) if isinstance(value, str) else _strings("readable-by", value)
    for item in items:
        if line("readable-by", item) == "":
            raise RequestError("readable-by", "holds an empty name")
    return items


def request_id(name: str, value: Any) -> str | None:
    """A request's id: a UUID, brought to its canonical form."""
    if value is None:
        return None
    try:
        return str(uuid.UUID(_text(name, value)))
    except ValueError as error:
        raise RequestError(name, "must be a UUID") from error


def _trigger(item: str) -> str:
    source, slash, version = item.partition("/")
    if not slash or not _SOURCE.fullmatch(source) or not _VERSION.fullmatch(version):
        raise RequestError("triggers", f"{item[:80]!r} is not source/version, such as gzip/1.12-1")
    return item


def _strings(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestError(name, f"must be a list of strings, not {kind(value)}")
    if len(value) > _MAX_ITEMS:
        raise RequestError(name, f"holds more than {_MAX_ITEMS} items")
    if any(len(item) > _MAX_ITEM for item in value):
        raise RequestError(name, f"holds an item longer than {_MAX_ITEM} characters")
    return tuple(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise RequestError(name, f"must be a string, not {kind(value)}")
    return value

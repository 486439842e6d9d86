# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an address or a form asks for: the parameters of autopkgtest-cloud's ``request.cgi``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from functions.request.visit import NotThereError, OldWordsError, Visit
from testyard.errors import RequestError
from testyard.intake.submit import Wish
from testyard.intake.wishes import wishes_of
from testyard.settings import Settings

#: Names in an address; what else there is in one is an error, and no silent loss.
NAMES = (
    "release", "arch", "package", "trigger", "ppa", "env", "all-proposed", "readable-by", "build-git",
    "test-git", "testname", "force",
)  # fmt: skip
_REPEATABLE = ("arch", "trigger", "ppa", "env", "readable-by")
#: Names that say how to send, and not what.
_OURS = ("csrf",)
_EXAMPLE = "/request.cgi?release={release}&arch={arch}&package=gzip&trigger=gzip%2F1.12-1"


@dataclass(frozen=True)
class Wanted:
    """What was asked for, as it was written; `wishes` says whether it makes sense."""

    package: str = ""
    release: str = ""
    architectures: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    ppas: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    readable_by: tuple[str, ...] = ()
    build_git: str = ""
    test_git: str = ""
    testname: str = ""
    all_proposed: str = ""
    force: bool = False
    #: True if nothing of it may be told; also of what is asked for again, whose account is not shown.
    secret: bool = False

    @property
    def private(self) -> bool:
        """True if nobody else may know of it."""
        return self.secret or bool(self.readable_by)

    @classmethod
    def of(cls, visit: Visit) -> Wanted:
        """From an address or a form. Raises RequestError for names that mean nothing, or twice one."""
        for name in dict.fromkeys(key for key, _ in visit.values):
            if name not in (*NAMES, *_OURS):
                raise OldWordsError(
                    name[:80] or "?", f"You have passed invalid args: {name[:80]!r} is unknown"
                )
            if name not in _REPEATABLE and len(set(visit.all(name))) > 1:
                raise OldWordsError(name, f"You have passed invalid args: {name} is given more than once")
        return cls(
            package=visit.one("package"),
            release=visit.one("release"),
            architectures=_words(visit.all("arch")),
            triggers=_words(visit.all("trigger")),
            ppas=_words(visit.all("ppa")),
            env=_parts(visit.all("env"), r"[;\n]"),
            readable_by=_parts(visit.all("readable-by"), r"[,\n]"),
            build_git=visit.one("build-git"),
            test_git=visit.one("test-git"),
            testname=visit.one("testname"),
            all_proposed=visit.one("all-proposed"),
            force=visit.one("force") == "1",
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The request's parameters; only what was given."""
        given = {
            "triggers": list(self.triggers),
            "ppas": list(self.ppas),
            "env": list(self.env),
            "readable-by": list(self.readable_by),
            "build-git": self.build_git,
            "test-git": self.test_git,
            "testname": self.testname,
            "all-proposed": self.all_proposed,
        }
        return {key: value for key, value in given.items() if value}

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The same as names and values of a form, to be sent again."""
        lists = {"arch": self.architectures, "trigger": self.triggers, "ppa": self.ppas, "env": self.env}
        lists["readable-by"] = self.readable_by
        single = {
            "package": self.package, "release": self.release, "build-git": self.build_git,
            "test-git": self.test_git, "testname": self.testname, "all-proposed": self.all_proposed,
            "force": "1" if self.force else "",
        }  # fmt: skip
        pairs = [(name, value) for name, value in single.items() if value]
        return tuple(pairs + [(name, value) for name, values in lists.items() for value in values])

    def check_given(self, settings: Settings, *, triggers: bool) -> None:
        """Raises RequestError if something that a request needs is missing."""
        topology = settings.topology
        plain = not (self.ppas or self.build_git or self.test_git)
        needed = {"release": self.release, "arch": self.architectures, "package": self.package}
        if triggers and plain:
            needed["trigger"] = self.triggers
        missing = [name for name, value in needed.items() if not value]
        if missing:
            what = f"You have passed invalid args: {', '.join(missing)} missing"
            works = [
                f". One that works: {_EXAMPLE.format(release=release, arch=arch)}"
                for release in topology.releases
                for arch in topology.architectures
                if topology.allows(release, arch)
            ]
            raise OldWordsError(missing[0], what + "".join(works[:1]))

    def wishes(self, settings: Settings) -> tuple[Wish, ...]:
        """One for each architecture. Raises RequestError in the words that older clients know."""
        for trigger in self.triggers:
            source, _, version = trigger.partition("/")
            if not source or not version or "/" in version:
                raise OldWordsError("trigger", "Malformed trigger, must be srcpackage/version")
        if self.all_proposed not in ("", "1"):
            raise RequestError("all-proposed", 'must be "1" or left out')
        if self.release not in settings.topology.releases:
            raise NotThereError("release", f"release {self.release[:80]} not found")
        for name in self.architectures:
            if name not in settings.topology.architectures:
                raise NotThereError("arch", f"arch {name[:80]} not found")
        return wishes_of(
            settings,
            self.package,
            self.parameters,
            release=self.release,
            architectures=self.architectures,
            force=self.force,
        )


def in_old_words(error: RequestError, wanted: Wanted) -> RequestError:
    """The same error, in the words that scripts look for."""
    field = error.field.rpartition(".")[2]
    if field == "triggers" and "source/version" in error.problem:
        source, _, version = next(iter(wanted.triggers), "").partition("/")
        words = f"Malformed trigger: {source[:80]} version: {version[:80]} ({error.problem})"
        return OldWordsError("trigger", words)
    if field == "ppas" and "has nothing for" in error.problem:
        return NotThereError("ppa", f"ppa not found: {error.problem}")
    if field == "architecture":
        return NotThereError("arch", f"arch not found: {error.problem}")
    return error


def _words(values: Iterable[str]) -> tuple[str, ...]:
    return _unique(values, str.split)


def _parts(values: Iterable[str], pattern: str) -> tuple[str, ...]:
    return _unique(values, lambda value: [part.strip() for part in re.split(pattern, value)])


def _unique(values: Iterable[str], split: Callable[[str], list[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for value in values for part in split(value) if part))

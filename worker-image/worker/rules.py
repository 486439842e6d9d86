# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a failure means: whose fault it is, and whether it is known. The rules are data (docs/rules.md)."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeVar

import regex
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from testyard.errors import SettingsError
from testyard.queue import QueueName
from testyard.run import Outcome, outcome_of

OURS = Path(__file__).with_name("rules.toml")

_FAIL = 4
_TMPFAIL = 16

#: Seconds that one expression may search one log: test code decides what is in it.
_SECONDS = 2.0

log = logging.getLogger(__name__)


def _is_a_failure(code: int) -> int:
    if outcome_of(code) in (Outcome.PASS, Outcome.NEUTRAL):
        raise ValueError(f"exit code {code} is no failure")
    return code


_Code = Annotated[int, Field(ge=1, le=255), AfterValidator(_is_a_failure)]


class Rule(BaseModel):
    """All that it names must be so. ``log`` is searched in the log's last 64 KiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern="^[a-z0-9][a-z0-9.-]{0,60}$")
    exit_codes: tuple[_Code, ...] = (4, 6, 12, 14, 16, 20)
    log: str = ""
    packages: tuple[str, ...] = ("*",)
    except_packages: tuple[str, ...] = ()
    releases: tuple[str, ...] = ("*",)
    architectures: tuple[str, ...] = ("*",)

    @field_validator("log")
    @classmethod
    def _is_an_expression(cls, value: str) -> str:
        try:
            regex.compile(value)
        except regex.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return value

    def fits(self, exit_code: int, log_end: str, package: str, queue: QueueName) -> bool:
        """True if the rule is about this failure."""
        return (
            exit_code in self.exit_codes
            and _any(self.packages, package)
            and not _any(self.except_packages, package)
            and _any(self.releases, queue.release)
            and _any(self.architectures, queue.architecture)
            and self._found_in(log_end)
        )

    def _found_in(self, log_end: str) -> bool:
        try:
            # concurrent: a search must not stop the worker's other threads, which keep its leases
            return bool(self._expression.search(log_end, timeout=_SECONDS, concurrent=True))
        except TimeoutError:
            log.warning("rule %s: its expression takes longer than %.0f s on a log", self.name, _SECONDS)
            return False

    @cached_property
    def _expression(self) -> regex.Pattern[str]:
        return regex.compile(self.log)


class KnownIssue(Rule):
    """A failure that somebody has understood; it stays a failure."""

    link: str = Field(default="", pattern=r"^(https?://[^\s<>\"']+)?$")


AnyRule = TypeVar("AnyRule", bound=Rule)


class RuleFile(BaseModel):
    """``temporary``: tried again. ``failure``: the package's fault. ``known``: told, changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temporary: tuple[Rule, ...] = ()
    failure: tuple[Rule, ...] = ()
    known: tuple[KnownIssue, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """``facts`` go into the result; ``again`` names the rule by which another attempt is due."""

    exit_code: int
    facts: Mapping[str, str] = field(default_factory=dict)
    again: str = ""


class Rules:
    """Ours, after the operator's."""

    def __init__(self, files: tuple[RuleFile, ...]) -> None:
        self._files = files

    @classmethod
    def load(cls, operators: Path | None) -> Rules:
        """Read both. Raises SettingsError naming file and rule."""
        return cls(tuple(_read(path) for path in (operators, OURS) if path is not None))

    def judge(self, exit_code: int, log_end: str, package: str, queue: QueueName, *, last: bool) -> Judgement:
        """What a run's exit code means; ``last``: there will be no other attempt."""
        found = (exit_code, log_end, package, queue)
        known = _first((rule for rules in self._files for rule in rules.known), found)
        facts = {"known_issue": f"{known.name} {known.link}".strip()} if known else {}
        failure = _first((rule for rules in self._files for rule in rules.failure), found)
        if failure:
            return Judgement(_FAIL, {**facts, "rule": failure.name})
        temporary = _first((rule for rules in self._files for rule in rules.temporary), found)
        if temporary is None:
            return Judgement(exit_code, facts)
        return Judgement(_TMPFAIL, {**facts, "rule": temporary.name}, "" if last else temporary.name)


def _first(rules: Iterable[AnyRule], found: tuple[int, str, str, QueueName]) -> AnyRule | None:
    return next((rule for rule in rules if rule.fits(*found)), None)


def _read(path: Path) -> RuleFile:
    try:
        return RuleFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise SettingsError(f"worker.rules: {path} is wrong", details="\n".join(lines)) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"worker.rules: {path} cannot be read: {error}") from error


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

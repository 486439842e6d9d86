# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may do what: rules, of which the first that fits decides (docs/policy.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Protocol

from testyard.errors import ForbiddenError, TestyardError
from testyard.intake.identity import Identity, Scope


class Right(StrEnum):
    """What a rule may give or take."""

    REQUEST = "request"
    FORCE = "force"
    PRIVATE = "private"
    VARIABLES = "variables"
    CANCEL = "cancel"
    QUEUE = "queue"
    ADMIN = "admin"
    UNLIMITED = "unlimited"


#: What a token must be for, beside what its owner may.
SCOPES = {
    Right.REQUEST: Scope.REQUEST,
    Right.FORCE: Scope.REQUEST,
    Right.PRIVATE: Scope.REQUEST,
    Right.VARIABLES: Scope.REQUEST,
    Right.CANCEL: Scope.CANCEL,
    Right.QUEUE: Scope.QUEUE,
    Right.ADMIN: Scope.ADMIN,
}

_DEEDS = {
    Right.REQUEST: "request tests of",
    Right.FORCE: "force a test that is known already of",
    Right.PRIVATE: "request private tests of",
    Right.VARIABLES: "set variables or choose a test for migration tests of",
    Right.CANCEL: "cancel others' tests of",
    Right.QUEUE: "change the order of tests of",
    Right.ADMIN: "administer this instance",
    Right.UNLIMITED: "request without limits",
}

#: Words in `who` beside names and groups.
EVERYBODY, LOGGED_IN, TOKEN, UPLOADER = "*", "logged-in", "token", "uploader"
WORDS = {
    EVERYBODY: "everybody",
    LOGGED_IN: "whoever has logged in",
    TOKEN: "holders of a token",
    UPLOADER: "whoever may upload the package or one of its triggers",
}


@dataclass(frozen=True)
class Question:
    """What somebody wants to do. Where ``package`` is empty it is about no package in particular.

    ``anything`` asks whether there is something that they may do it with.
    """

    right: Right
    package: str = ""
    context: str = ""
    release: str = ""
    triggers: tuple[str, ...] = ()
    anything: bool = False

    def __str__(self) -> str:
        deed = _DEEDS[self.right]
        if not self.package:
            return deed.removesuffix(" of")
        return f"{deed} {self.package} in {self.context or 'any queue'} of {self.release or 'any release'}"


@dataclass(frozen=True)
class Rule:
    """``who`` may do what ``rights`` say with what fits the patterns; or may not, if ``allows`` is false."""

    who: tuple[str, ...]
    rights: frozenset[Right]
    allows: bool = True
    packages: tuple[str, ...] = ("*",)
    contexts: tuple[str, ...] = ("*",)
    releases: tuple[str, ...] = ("*",)

    def about(self, question: Question) -> bool:
        """True if it speaks of this, whoever asks."""
        if question.anything and self.allows:
            return question.right in self.rights
        return (
            question.right in self.rights
            and _fits(question.package, self.packages)
            and _fits(question.context, self.contexts)
            and _fits(question.release, self.releases)
        )


class Knowledge(Protocol):
    """What must be asked for elsewhere."""

    def uploads(self, who: Identity, question: Question) -> bool:
        """May upload the package or a trigger. Raises TestyardError if that cannot be found out now."""

    def member(self, who: Identity, group: str) -> bool:
        """Is in ``<provider>/<group>``, which the login did not tell of. Raises TestyardError as above."""


#: Always there, after the operator's own: whoever holds the broker's password needs nobody's leave, and
#: the hooks that are worked on are those that the file of projects names.
LAST_RULES = (
    Rule(("operator/*",), frozenset(Right)),
    Rule(("hook/*",), frozenset({Right.REQUEST, Right.FORCE, Right.VARIABLES, Right.CANCEL})),
)


@dataclass(frozen=True)
class GitHosts:
    """Where repositories of requests may be: ``hosts``, or any if none is named; inside if ``internal``."""

    hosts: tuple[str, ...] = ()
    internal: bool = False


@dataclass(frozen=True)
class Policy:
    """The rules, in order, and where repositories may be."""

    rules: tuple[Rule, ...] = ()
    git: GitHosts = GitHosts()

    def check(self, who: Identity, question: Question, knowledge: Knowledge) -> None:
        """Raises ForbiddenError saying what is missing, or TestyardError if it cannot be found out now."""
        check_scope(who, question)
        unknown: TestyardError | None = None
        for rule in (*self.rules, *LAST_RULES):
            if not rule.about(question):
                continue
            try:
                meant = any(_is(who, word, question, knowledge) for word in rule.who)
            except TestyardError as error:
                if not rule.allows:  # who may be meant by it must not get by
                    raise
                unknown = unknown or error
                continue
            if meant and rule.allows:
                return
            if meant:
                break
        if unknown is not None:
            raise unknown
        raise self._refusal(who, question)

    def _refusal(self, who: Identity, question: Question) -> ForbiddenError:
        allowing = [rule.who for rule in self.rules if rule.allows and rule.about(question)]
        words = dict.fromkeys(word for words in allowing for word in words)
        public = [
            WORDS.get(word, f"members of {word[1:]}") for word in words if word in WORDS or word[0] == "@"
        ]
        named = " or ".join(public) if public else "those whom the operators name"
        if not who.owner:
            return ForbiddenError(f"Log in to {question}.", login=True, resolution=f"This is for {named}.")
        return ForbiddenError(f"{who.owner} may not {question}", resolution=f"This is for {named}.")


def check_scope(who: Identity, question: Question) -> None:
    """Raises ForbiddenError if they came with a token that is not for this."""
    scope = SCOPES.get(question.right)
    if scope is not None and who.token and scope not in who.scopes:
        raise ForbiddenError(
            f"this token is not to {question}", resolution=f"Make a token with the scope {scope}."
        )


def _is(who: Identity, word: str, question: Question, knowledge: Knowledge) -> bool:
    if word == EVERYBODY:
        return True
    if not who.owner:
        return False
    if word in (LOGGED_IN, TOKEN):
        return word == LOGGED_IN or bool(who.token)
    if word == UPLOADER:
        return knowledge.uploads(who, question)
    if word.startswith("@"):
        return word in who.names or knowledge.member(who, word[1:])
    return fnmatchcase(who.owner, word)


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def default_policy(*, people: bool) -> Policy:
    """What holds without a file. ``people`` is true if strangers may log in, and so may make tokens."""
    if people:
        return Policy()
    rights: Sequence[Right] = (Right.REQUEST, Right.FORCE, Right.PRIVATE, Right.VARIABLES)
    return Policy((Rule((TOKEN,), frozenset(rights)),))

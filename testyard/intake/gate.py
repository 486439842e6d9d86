# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked before a request may come in: how much, whether they may, and whether it makes sense."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import randbelow

from sqlalchemy import Engine

from testyard.adapters.names import RememberedNames
from testyard.adapters.outside import Outside, resolve
from testyard.errors import (
    ForbiddenError,
    LimitError,
    OutsideError,
    RefusedAddressError,
    RequestError,
    SettingsError,
    TestyardError,
)
from testyard.index import index_errors
from testyard.intake.audit import Action, record_refusal, refusal_buckets
from testyard.intake.identity import Identity
from testyard.intake.launchpad import LaunchpadKnowledge
from testyard.intake.policy import Knowledge, Policy, Question, Right, check_scope, default_policy
from testyard.intake.policyfile import PolicyFile
from testyard.intake.ppas import Notes
from testyard.intake.published import Published
from testyard.intake.rates import buckets_of, forget_full, take
from testyard.intake.submit import Wish
from testyard.packagelists import PackageList, PackageLists
from testyard.queue import URGENT, QueueName
from testyard.request import MIGRATION_REFERENCE, TestRequest, make_request
from testyard.settings import Intake, Settings

log = logging.getLogger(__name__)

#: Letters of what the audit log says of a refusal.
_LONGEST = 500
#: One of so many requests also removes the buckets that are full again.
_TIDY_EACH = 500
#: Seconds for the name of a repository's host.
_NAME_SECONDS = 5.0


@dataclass(frozen=True)
class Checked:
    """Wishes that make sense, and what whoever asks should be told about them, a line each."""

    wishes: tuple[Wish, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """For any number of threads. All of it may wait for databases and other servers."""

    settings: Settings
    memory: Engine
    policy: Callable[[], Policy]
    outside: Outside
    knowledge: LaunchpadKnowledge
    published: Published

    @classmethod
    def of(cls, settings: Settings, memory: Engine) -> Gate:
        """One for each process. Raises SettingsError if the policy cannot be read."""
        # a name server's answer takes longer than all else that a request costs
        names = RememberedNames(resolve)
        outside = Outside(inside=settings.intake.inside, seconds=_NAME_SECONDS, resolve=names)
        knowledge = LaunchpadKnowledge(settings.intake.launchpad, memory)
        return cls(settings, memory, _policy(settings.intake), outside, knowledge, Published(settings))

    def admit(self, who: Identity, address: str, cost: int = 1) -> None:
        """Count ``cost`` requests of somebody. Raises LimitError if that is too much now."""
        if self._may(who, Right.UNLIMITED, _Nothing()):
            return
        try:
            self._take(who, address, cost)
        except LimitError:  # only then is it worth to ask others
            if not self.may(who, Right.UNLIMITED):
                raise

    def _take(self, who: Identity, address: str, cost: int) -> None:
        rates = self.settings.intake.rates
        with index_errors(), self.memory.begin() as memory:
            take(memory, buckets_of(rates, who.owner, address), cost)
            if randbelow(_TIDY_EACH) == 0:
                forget_full(memory, (*buckets_of(rates, "anybody", "0.0.0.0"), *refusal_buckets("anybody")))  # noqa: S104

    def may(self, who: Identity, right: Right) -> bool:
        """True if they have a right that is about no package in particular, or about all."""
        return self._may(who, right, self.knowledge.for_a_call())

    def _may(self, who: Identity, right: Right, knowledge: Knowledge) -> bool:
        try:
            self.policy().check(who, Question(right), knowledge)
        except TestyardError:  # what cannot be found out now gives no right
            return False
        return True

    def may_some(self, who: Identity, right: Right) -> bool:
        """True if there is perhaps a package, context or release with which they may."""
        try:
            self.policy().check(who, Question(right, anything=True), self.knowledge.for_a_call())
        except ForbiddenError:
            return False
        except TestyardError:  # who knows; they are told when they ask for something
            return True
        return True

    def note_refusal(
        self,
        who: Identity,
        address: str,
        error: TestyardError,
        wishes: Sequence[Wish] = (),
        *,
        package: str = "",
        private: bool = False,
    ) -> None:
        """Write into the audit log what was refused; of what is private only that something was.

        ``package`` and ``private`` are for what has not become wishes.
        """
        if isinstance(error, ForbiddenError) and error.login:  # they may come back and be known
            return
        details: dict[str, str] = {}
        if not private and not any(is_private(wish) for wish in wishes):
            packages = " ".join(dict.fromkeys(wish.package for wish in wishes)) or package
            details = {"package": packages[:_LONGEST], "reason": error.brief[:_LONGEST]}
        with index_errors(), self.memory.begin() as memory:
            record_refusal(memory, Action.REFUSED, who, address=address, **details)

    def allow(self, wishes: Sequence[Wish], who: Identity) -> None:
        """Raises ForbiddenError if they may not ask for one of these, RequestError for one that is none."""
        policy, knowledge = self.policy(), self.knowledge.for_a_call()
        questions = [one for _, wish, request in _requests(wishes) for one in _questions(wish, request)]
        for question in dict.fromkeys(questions):
            policy.check(who, question, knowledge)

    def may_cancel(self, who: Identity, owner: str, package: str, queue: str) -> None:
        """Raises ForbiddenError if they may not cancel ``owner``'s request, or one that is nobody's."""
        place = QueueName.parse(queue)
        question = Question(Right.CANCEL, package, place.context, place.release)
        if who.owner and who.owner == owner:
            check_scope(who, question)
        else:
            self.policy().check(who, question, self.knowledge.for_a_call())

    def check(self, wishes: Sequence[Wish]) -> Checked:
        """Raises RequestError naming the field (``requests[3].triggers`` where there are several).

        What could not be found out is in the answer's notes.
        """
        notes = Notes()
        seen: set[tuple[object, ...]] = set()
        for place, wish, request in _requests(wishes):
            with _at(place):
                self._check(wish, request)
                what = _looked_up(wish, request)
                if what not in seen:  # once for all architectures
                    seen.add(what)
                    self.published.check(request, wish.queue.release, notes)
        return Checked(tuple(wishes), notes.lines)

    def _check(self, wish: Wish, request: TestRequest) -> None:
        topology, queue = self.settings.topology, wish.queue
        _known("release", queue.release, topology.releases)
        _known("architecture", queue.architecture, topology.architectures)
        _known("context", queue.context, topology.contexts)
        _check_context(queue.context, request)
        if not topology.allows(queue.release, queue.architecture):
            raise RequestError("architecture", f"{queue.release} is not tested on {queue.architecture}")
        for name, url in (("test-git", request.test_git), ("build-git", request.build_git)):
            if url:
                self._check_git(name, url)
        if MIGRATION_REFERENCE in request.triggers:
            _check_reference(request.triggers, request.ppas, all_proposed=request.all_proposed)

        if PackageList.NEVER in self._lists(wish):
            raise RequestError(
                "package", f"{wish.package} is on never_run for {queue.release} on {queue.architecture}"
            )

    def _lists(self, wish: Wish) -> frozenset[PackageList]:
        try:
            return PackageLists(self.settings.worker.package_lists).of(wish.package, wish.queue)
        except SettingsError as error:  # it may be on the workers' machines only, which look for themselves
            log.warning("%s", error.brief)
            return frozenset()

    def _check_git(self, name: str, url: str) -> None:
        """A testbed will fetch it, and may reach what is in the network of its machine."""
        git = self.policy().git
        outside = replace(self.outside, hosts=git.hosts)
        if git.internal:
            outside = replace(outside, inside=("*",))
        place = re.sub("^git:", "http:", url)  # the protocols' default ports are nobody's business here
        try:
            outside.check(place)
        except RefusedAddressError as error:
            raise RequestError(name, error.brief) from error
        except OutsideError as error:
            # whoever runs the test may know the name though this machine does not
            log.info("%s: not checked: %s", name, error.brief)


def is_private(wish: Wish) -> bool:
    """True if nothing of it may be told; also of one that makes no sense."""
    return any(wish.parameters.get(key) for key in ("swiftuser", "readable-by"))


class _Nothing:
    """Knows nothing of anybody that would have to be asked for."""

    def uploads(self, who: Identity, question: Question) -> bool:
        """Raises OutsideError."""
        raise OutsideError("not asked")

    def member(self, who: Identity, group: str) -> bool:
        """Raises OutsideError."""
        raise OutsideError("not asked")


def _policy(intake: Intake) -> Callable[[], Policy]:
    if intake.policy is not None:
        return PolicyFile(intake.policy).policy
    fixed = default_policy(people=intake.logins is not None)
    return lambda: fixed


def _check_reference(triggers: Sequence[str], ppas: Sequence[str], *, all_proposed: bool) -> None:
    what = f"a run with the trigger {MIGRATION_REFERENCE} tests what is released"
    if set(triggers) != {MIGRATION_REFERENCE}:
        raise RequestError("triggers", f"{what}: it can have no other trigger")
    if ppas:
        raise RequestError("ppas", f"{what}: it can have no archive beside it")
    if all_proposed:
        raise RequestError("all-proposed", f"{what}: it takes nothing from the proposed pocket")


def _check_context(context: str, request: TestRequest) -> None:
    """Who may ask there only must not get a result into the release's own container."""
    if context == "ppa" and not request.ppas:
        raise RequestError("context", "ppa is for requests with an archive: name one in ppas")
    if context == "upstream" and not (request.from_git or request.ppas):
        raise RequestError("context", "upstream is for requests with test-git or build-git")


def _known(field_name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        there = ", ".join(known) or "none at all"
        raise RequestError(field_name, f"{value!r} is not configured; there is: {there}")


def _looked_up(wish: Wish, request: TestRequest) -> tuple[object, ...]:
    """What an answer of `Published` depends on."""
    return wish.queue.release, request.package, request.triggers, request.ppas, request.from_git


def _questions(wish: Wish, request: TestRequest) -> list[Question]:
    """All that a wish takes."""
    rights = [Right.REQUEST]
    if wish.force:
        rights.append(Right.FORCE)
    if request.private:
        rights.append(Right.PRIVATE)
    # whatever the queue's name: by its container a run's result decides about migration, or does not
    if (request.env or request.testname) and not (request.ppas or request.from_git or request.private):
        rights.append(Right.VARIABLES)
    if wish.queue.context == URGENT:  # it goes before what others asked for
        rights.append(Right.QUEUE)
    where = (wish.package, wish.queue.context, wish.queue.release, request.trigger_sources)
    return [Question(right, *where) for right in rights]


def _requests(wishes: Sequence[Wish]) -> Iterator[tuple[str, Wish, TestRequest]]:
    """Each wish, with the place that its errors name."""
    for number, wish in enumerate(wishes):
        place = f"requests[{number}]." if len(wishes) > 1 else ""
        with _at(place):
            request = make_request(wish.package, wish.parameters)
        yield place, wish, request


@contextmanager
def _at(place: str) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise RequestError(f"{place}{error.field}", error.problem) from error

# SPDX-License-Identifier: AGPL-3.0-or-later
"""From what a page or an older client asks for to the door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

from functions.request.visit import Visit
from functions.request.wanted import Wanted, in_old_words
from testyard.errors import ConflictError, ForbiddenError, LimitError, MissingError, RequestError
from testyard.intake.gate import Gate
from testyard.intake.known import Standing
from testyard.intake.policy import Right
from testyard.intake.submit import Accepted, Door, Wish

_T = TypeVar("_T")
SUBMITTED = "Test request submitted."
_WORDS = {
    Standing.RUNNING: "Test already running",
    Standing.QUEUED: "Test already queued",
    Standing.PASSED: "Test already passed",
}


@dataclass(frozen=True)
class Ready:
    """Wishes that make sense and are allowed, and what whoever asks should be told of them."""

    wishes: tuple[Wish, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """What became of one wish; ``request`` and ``history`` are addresses of pages."""

    accepted: Accepted
    request: str
    history: str

    @property
    def text(self) -> str:
        """The same on one line."""
        queue = self.accepted.queue
        place = f"{queue.release} {queue.architecture}"
        return f"{place}: {self.accepted.standing} {self.accepted.request_id} {self.request}".rstrip()


@dataclass(frozen=True)
class Outcome:
    """What became of all."""

    message: str
    status: int
    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """True if one has passed already, and so was not sent."""
        return any(line.accepted.standing is Standing.PASSED for line in self.lines)


def check_known(visit: Visit) -> None:
    """Raises ForbiddenError if somebody has to log in before anything else."""
    who = visit.caller.who
    if not who.owner and not _gate(visit).may_some(who, Right.REQUEST):
        raise ForbiddenError("Log in to request tests.", login=True)


def wanted_of(visit: Visit) -> Wanted:
    """What was asked for. Raises RequestError, and LimitError: what is malformed counts as a request, too."""
    with _refusals(visit, Wanted(), tuple):
        try:
            return Wanted.of(visit)
        except RequestError:
            _gate(visit).admit(visit.caller.who, visit.address)
            raise


def counted(visit: Visit, make: Callable[[], _T]) -> _T:
    """What ``make`` finds; it is looked for only within the limits, and counts. Raises what it raises."""
    with _refusals(visit, Wanted(), tuple):
        _gate(visit).admit(visit.caller.who, visit.address)
        return make()


def ready(visit: Visit, wanted: Wanted, *, triggers: bool) -> Ready:
    """Look through all of it. Raises RequestError, ForbiddenError, LimitError, TestyardError."""

    def wishes() -> tuple[Wish, ...]:
        wanted.check_given(visit.settings, triggers=triggers)
        return wanted.wishes(visit.settings)

    return looked_through(visit, wanted, wishes)


def looked_through(
    visit: Visit, wanted: Wanted, make: Callable[[], tuple[Wish, ...]], *, paid: int = 0
) -> Ready:
    """The same for wishes that are made in another way; ``paid`` of them were `counted`."""
    who, gate = visit.caller.who, _gate(visit)
    wishes: tuple[Wish, ...] = ()
    with _refusals(visit, wanted, lambda: wishes):
        if not paid:
            gate.admit(who, visit.address)
        try:
            wishes = make()
            if len(wishes) > max(paid, 1):
                gate.admit(who, visit.address, len(wishes) - max(paid, 1))
            gate.allow(wishes, who)
            checked = gate.check(wishes)
        except RequestError as error:
            raise in_old_words(error, wanted) from error
    return Ready(checked.wishes, checked.notes)


def send(visit: Visit, wanted: Wanted, asked: Ready) -> Outcome:
    """Through the door. Raises BrokerError if nothing could be sent."""
    door = visit.request.app.state.door
    assert isinstance(door, Door)
    accepted = door.submit(asked.wishes, visit.caller.who, address=visit.address)
    lines = tuple(_line(visit, wanted.package, each) for each in accepted)
    return Outcome(*_verdict(accepted), lines)


@contextmanager
def _refusals(visit: Visit, wanted: Wanted, made: Callable[[], Sequence[Wish]]) -> Iterator[None]:
    """The audit log tells of what is refused."""
    try:
        yield
    except (RequestError, ForbiddenError, LimitError, MissingError, ConflictError) as error:
        _gate(visit).note_refusal(
            visit.caller.who,
            visit.address,
            error,
            made(),
            package=wanted.package,
            private=wanted.private,
        )
        raise


def _gate(visit: Visit) -> Gate:
    gate = visit.request.app.state.gate
    assert isinstance(gate, Gate)
    return gate


def _verdict(accepted: Sequence[Accepted]) -> tuple[str, int]:
    standings = {each.standing for each in accepted}
    if Standing.ACCEPTED in standings:
        return SUBMITTED, HTTPStatus.OK
    first = next(standing for standing in _WORDS if standing in standings)
    ids = ", ".join(each.request_id for each in accepted if each.standing is first and each.request_id)
    status = HTTPStatus.CONFLICT if first is Standing.RUNNING else HTTPStatus.OK
    return f"{_WORDS[first]}: {ids}".removesuffix(": "), status


def _line(visit: Visit, package: str, accepted: Accepted) -> Line:
    site = visit.settings.site.url.rstrip("/")
    queue = accepted.queue
    history = f"{site}/packages/{quote(package)}/{quote(queue.release)}/{quote(queue.architecture)}"
    request = f"{site}/requests/{accepted.request_id}" if accepted.request_id else ""
    return Line(accepted, request, history)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The writing part of /api/v1: ask, cancel, ask again (docs/api.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import Route

from functions.request.calls import Call, ProblemError, answer, api_route
from functions.request.cancel import cancel
from functions.request.retry import wish_for
from functions.request.who import base_url
from testyard.errors import (
    BrokerError,
    ConflictError,
    ForbiddenError,
    LimitError,
    MissingError,
    OutsideError,
    RequestError,
    TestyardError,
)
from testyard.index import index_errors
from testyard.intake import answers, rates
from testyard.intake.answers import Ticket
from testyard.intake.known import Standing
from testyard.intake.policy import Question, Right
from testyard.intake.submit import Accepted, Wish
from testyard.intake.wishes import wishes_of
from testyard.openapi.document import openapi_json
from testyard.openapi.models import MOST_REQUESTS, Ask, Receipt, Receipts
from testyard.openapi.words import field_errors
from testyard.problem import invalid

_PLACE = re.compile(r"requests\[(\d+)\]\.(.*)", re.DOTALL)
#: What is raised before anything is accepted.
_NOTHING_DONE = (ProblemError, RequestError, ForbiddenError, LimitError, OutsideError, BrokerError)
#: What the parts behind the API call a field that has another name here.
_NAMES = {"architecture": "arch"}


def api_routes() -> list[Route]:
    """The routes."""
    return [
        api_route("/api/v1/requests", "POST", _ask),
        api_route("/api/v1/requests/{request_id}", "DELETE", cancel),
        api_route("/api/v1/retry/{reference:path}", "POST", _retry),
        api_route("/api/v1/openapi.json", "GET", _openapi),
    ]


@dataclass(frozen=True)
class _Wanted:
    """The wishes of a call, and which of its items each came from; None where a single one was sent."""

    wishes: tuple[Wish, ...]
    items: tuple[int, ...] | None

    def placed(self, error: RequestError) -> RequestError:
        """The error with its field as whoever asks has written it."""
        found = _PLACE.fullmatch(error.field)
        number, field = (int(found[1]), found[2]) if found else (0, error.field)
        field = _NAMES.get(field, field)
        if self.items is None:
            return RequestError(field, error.problem)
        return RequestError(f"requests[{self.items[number]}].{field}", error.problem)


def _ask(call: Call) -> Response:
    with _refusals(call):
        _check_may(call)
        wanted, key = _wanted(call, call.value()), _key(call)
    return _once(call, wanted, key, call.body)


def _once(call: Call, wanted: _Wanted, key: str | None, what: bytes) -> Response:
    """Ask, or give the answer that was given to the same call; ``what`` tells one call from another."""
    if key is None:
        return _answered(_receipts(call, wanted, None))
    ticket = answers.begin(call.memory, _owner(call), key, answers.digest_of(what))
    if ticket.answer is not None:
        return _answered(ticket.answer, repeated=True)
    try:
        given = _receipts(call, wanted, ticket)
    except _NOTHING_DONE:
        answers.give_back(call.memory, ticket)  # nothing was accepted: the key is free
        raise
    answers.finish(call.memory, ticket, given)
    return _answered(given)


def _retry(call: Call) -> Response:
    call.check_origin()
    with _refusals(call):
        _check_may(call)
        with index_errors(), call.index.connect() as index, call.reader.connect() as memory:
            wish = wish_for(memory, index, call.request.path_params["reference"], call.who)
        key = _key(call)
    return _once(call, _Wanted((wish,), None), key, call.request.scope["path"].encode())


def _check_may(call: Call) -> None:
    """Before anything that costs. Raises ForbiddenError, LimitError."""
    who, gate = call.who, call.gate
    if not gate.may_some(who, Right.REQUEST):
        gate.policy().check(who, Question(Right.REQUEST, anything=True), gate.knowledge)
    try:
        with index_errors(), call.reader.connect() as memory:
            rates.check(memory, rates.buckets_of(call.settings.intake.rates, who.owner, call.address))
    except LimitError:
        if not gate.may(who, Right.UNLIMITED):
            raise


@contextmanager
def _refusals(call: Call) -> Iterator[None]:
    """What is refused before it was understood counts as one request, and the audit log tells of it."""
    try:
        yield
    except (ProblemError, RequestError, ConflictError, MissingError) as error:
        call.gate.note_refusal(call.who, call.address, _without_words(error))
        call.gate.admit(call.who, call.address)
        raise
    except (ForbiddenError, LimitError) as error:
        call.gate.note_refusal(call.who, call.address, error)
        raise


def _without_words(error: Exception) -> TestyardError:
    """Which fields, without what stood in them: it may be private."""
    if isinstance(error, ProblemError):
        fields = ", ".join(name for name, _ in error.problem.errors)
        return TestyardError(f"{error.problem.kind}: {fields}".removesuffix(": "))
    if isinstance(error, RequestError):
        return TestyardError(f"invalid: {error.field}")
    assert isinstance(error, TestyardError)
    return error


def _openapi(call: Call) -> Response:
    settings = call.settings
    return answer(openapi_json(site=settings.site.url, intake=base_url(settings)))


def _key(call: Call) -> str | None:
    told = call.request.headers.get("Idempotency-Key")
    return None if told is None else answers.checked_key(told)


def _owner(call: Call) -> str:
    return call.who.owner or f"address/{call.address}"


def _answered(given: Mapping[str, Any], *, repeated: bool = False) -> Response:
    new = any(item["standing"] == Standing.ACCEPTED for item in given["requests"])
    return answer(dict(given), 202 if new else 200, {"Idempotency-Replayed": "true"} if repeated else None)


def _wanted(call: Call, value: Any) -> _Wanted:
    """Raises ProblemError naming all fields of a wrong form, RequestError the first that makes no sense."""
    single = not isinstance(value, list)
    found = [value] if single else value
    if not 1 <= len(found) <= MOST_REQUESTS:
        raise RequestError("requests", f"there are {len(found)}; 1 to {MOST_REQUESTS} are taken in a call")
    asks = _asks(found, single=single)
    wishes: list[Wish] = []
    items: list[int] = []
    for number, ask in enumerate(asks):
        try:
            more = wishes_of(
                call.settings,
                ask.package,
                ask.parameters(),
                release=ask.release,
                architectures=ask.arch,
                context=ask.context,
                force=ask.force,
            )
        except RequestError as error:
            place = "" if single else f"requests[{number}]."
            raise RequestError(f"{place}{error.field}", error.problem) from error
        wishes += more
        items += [number] * len(more)
    if len(wishes) > MOST_REQUESTS:
        raise RequestError("requests", f"with all architectures {len(wishes)}; {MOST_REQUESTS} at most")
    return _Wanted(tuple(wishes), None if single else tuple(items))


def _asks(found: Sequence[Any], *, single: bool) -> list[Ask]:
    asks: list[Ask] = []
    errors: list[tuple[str, str]] = []
    for number, item in enumerate(found):
        try:
            asks.append(Ask.model_validate_json(json.dumps(item)))
        except ValidationError as error:
            errors += field_errors(error, Ask, "" if single else f"requests[{number}]")
    if errors:
        raise ProblemError(invalid(*errors[:100]))
    return asks


def _receipts(call: Call, wanted: _Wanted, ticket: Ticket | None) -> dict[str, Any]:
    who, address = call.who, call.address
    try:
        call.gate.admit(who, address, len(wanted.wishes))
        call.gate.allow(wanted.wishes, who)
        checked = call.gate.check(wanted.wishes)
        wishes = _named(checked.wishes, ticket)
        accepted = call.door.submit(wishes, who, address=address, ticket=ticket)
    except RequestError as error:
        call.gate.note_refusal(who, address, error, wanted.wishes)
        raise wanted.placed(error) from error
    except (ForbiddenError, LimitError) as error:
        call.gate.note_refusal(who, address, error, wanted.wishes)
        raise
    receipts = [_receipt(call, wish, one) for wish, one in zip(wishes, accepted, strict=True)]
    return Receipts(requests=tuple(receipts), notes=checked.notes).model_dump(mode="json")


def _named(wishes: Sequence[Wish], ticket: Ticket | None) -> tuple[Wish, ...]:
    if ticket is None:
        return tuple(wishes)
    return tuple(replace(wish, request_id=ticket.request_id(number)) for number, wish in enumerate(wishes))


def _receipt(call: Call, wish: Wish, one: Accepted) -> Receipt:
    queue, site = wish.queue, call.settings.site.url.rstrip("/")
    return Receipt(
        id=one.request_id,
        standing=one.standing.value,
        package=wish.package,
        release=queue.release,
        arch=queue.architecture,
        context=queue.context,
        queue=str(queue),
        status=f"{site}/api/v1/requests/{one.request_id}",
        page=f"{site}/requests/{one.request_id}",
        run=one.path or None,
    )

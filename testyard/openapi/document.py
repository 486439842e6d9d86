# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAPI 3.1 document of /api/v1, one for both rooms: the site reads, the request function writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

import testyard
from testyard.intake import sessions
from testyard.intake.answers import KEY_PATTERN, LONGEST_KEY
from testyard.openapi.models import (
    MOST_REQUESTS,
    Ask,
    Cancelling,
    Listing,
    ProblemDetails,
    Receipts,
    State,
    Status,
)
from testyard.problem import MEDIA_TYPE

#: Requests in one answer of the list, and how many if nothing is said.
MOST_LISTED, USUALLY_LISTED = 200, 50
#: The list's parameters that say which requests are meant.
FILTERS = ("package", "release", "arch", "state", "requester")

_REF = "#/components/schemas/{model}"
_WRONG = {
    "400": "The body is no JSON.",
    "401": "It is not known who asks: send a token.",
    "403": "Who asks may not.",
    "404": "There is no such request or run, or whoever asks may not see it.",
    "408": "The body was not here in time.",
    "409": "Too late, or too early: see detail.",
    "413": "The body is too large.",
    "415": "The body must be JSON, with its Content-Type.",
    "422": "Fields that are wrong, in errors; or an Idempotency-Key that was used with another body.",
    "429": "Too much at once: again after Retry-After seconds.",
    "503": "A part is away: nothing was done. Again after Retry-After seconds.",
}
_WRITING = ("401", "403", "408", "429", "503")
_ID = {
    "name": "request_id",
    "in": "path",
    "required": True,
    "description": "the request's id, a UUID",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a text that is new for each call: the same call again gets the answer that was given",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": KEY_PATTERN},
}


def openapi_json(*, site: str = "", intake: str = "") -> dict[str, Any]:
    """The document. ``site`` and ``intake`` are the addresses of the two rooms, as far as they are known."""
    read, write = _servers(site), _servers(intake)
    requests, one = "/api/v1/requests", "/api/v1/requests/{request_id}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Testyard",
            "version": testyard.__version__,
            "description": "Ask for tests of packages, find them at every later step, cancel them.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "security": [{"token": []}, {"session": []}],
        "paths": {
            requests: {"get": {**_listing(), **read}, "post": {**_ask(), **write}},
            one: {"get": {**_status(), **read}, "delete": {**_cancel(), **write}},
            "/api/v1/retry/{reference}": {"post": {**_retry(), **write}},
            "/api/v1/openapi.json": {"get": _document()},
        },
        "components": {"schemas": _schemas(), "securitySchemes": _security(intake)},
    }


def _servers(url: str) -> dict[str, Any]:
    return {"servers": [{"url": url.rstrip("/")}]} if url else {}


def _schemas() -> dict[str, Any]:
    _, told = models_json_schema([(Ask, "validation")], ref_template=_REF)
    answers = (Receipts, Cancelling, Status, Listing, ProblemDetails)
    _, given = models_json_schema([(one, "serialization") for one in answers], ref_template=_REF)
    asks = {
        "title": "Asks",
        "description": "One test that is asked for, or a list of them.",
        "oneOf": [
            {"$ref": _REF.format(model="Ask")},
            {
                "type": "array",
                "items": {"$ref": _REF.format(model="Ask")},
                "minItems": 1,
                "maxItems": MOST_REQUESTS,
            },
        ],
    }
    return {**told["$defs"], **given["$defs"], "Asks": asks}


def _security(intake: str) -> dict[str, Any]:
    return {
        "token": {"type": "http", "scheme": "bearer", "description": "ty_…; made by `testyard token make`"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": sessions.cookie_name(secure=not intake.startswith("http://")),
            "description": "of a person who has logged in",
        },
    }


def _listing() -> dict[str, Any]:
    words = {
        "package": "only of this source package",
        "release": "only on this release",
        "arch": "only on this architecture",
        "state": "only in this state",
        "requester": "only of this requester, as it stands in results",
    }
    text = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]+$"}
    schemas = {"state": {"type": "string", "enum": list(get_args(State))}}
    parameters = [_query(name, words[name], schemas.get(name, text)) for name in FILTERS]
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": USUALLY_LISTED}
    place = {"type": "string", "pattern": r"^[0-9]{1,12}\.[0-9]{1,20}_[0-9a-f-]{36}$"}
    parameters.append(_query("limit", "so many at a time", limit))
    parameters.append(_query("before", "where the page before has ended: it is in that one's `next`", place))
    return {
        "operationId": "listRequests",
        "summary": "Requests, the newest first",
        "parameters": parameters,
        "security": [{}, {"token": []}, {"session": []}],
        "responses": _responses(
            {"200": ("The requests that whoever asks may see.", "Listing")}, "401", "422", "503"
        ),
    }


def _query(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": dict(schema),
    }


def _ask() -> dict[str, Any]:
    return {
        "operationId": "ask",
        "summary": "Ask for tests, all of a call or none",
        "parameters": [_KEY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Asks")}}},
        },
        "responses": _responses(
            {
                "200": ("All are known already.", "Receipts"),
                "202": ("They are accepted, or known already.", "Receipts"),
            },
            *("400", "409", "413", "415", "422"),
            *_WRITING,
        ),
    }


def _status() -> dict[str, Any]:
    return {
        "operationId": "status",
        "summary": "A request: where it waits, what it is at, or how it ended",
        "parameters": [_ID],
        "security": [{}, {"token": []}, {"session": []}],
        "responses": _responses({"200": ("The request.", "Status")}, "401", "404", "503"),
    }


def _cancel() -> dict[str, Any]:
    reason = {"type": "string", "maxLength": 1000, "pattern": r"^[^\x00-\x1f\x7f]*$"}
    return {
        "operationId": "cancel",
        "summary": "End a request that waits or runs",
        "parameters": [_ID, _query("reason", "one line that is shown with the request", reason)],
        "responses": _responses({"202": ("It ends.", "Cancelling")}, "404", "409", "413", "422", *_WRITING),
    }


def _retry() -> dict[str, Any]:
    reference = {
        "name": "reference",
        "in": "path",
        "required": True,
        "description": "id of a run, with or without @, or of a request",
        "schema": {"type": "string", "minLength": 1, "maxLength": 300},
    }
    return {
        "operationId": "retry",
        "summary": "Ask for the same once more",
        "parameters": [reference, _KEY],
        "responses": _responses(
            {
                "200": ("The same waits, runs, or has passed.", "Receipts"),
                "202": ("It is accepted.", "Receipts"),
            },
            *("404", "409", "413", "422"),
            *_WRITING,
        ),
    }


def _document() -> dict[str, Any]:
    schema = TypeAdapter(dict[str, Any]).json_schema()
    return {
        "operationId": "document",
        "summary": "This document",
        "security": [{}],
        "responses": {
            "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": schema}}}
        },
    }


def _responses(good: Mapping[str, tuple[str, str]], *wrong: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        status: {
            "description": words,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model=model)}}},
        }
        for status, (words, model) in good.items()
    }
    for status in sorted(wrong):
        found[status] = {
            "description": _WRONG[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="ProblemDetails")}}},
            **_headers(status),
        }
    return found


def _headers(status: str) -> dict[str, Any]:
    if status == "401":
        return {"headers": {"WWW-Authenticate": {"schema": {"type": "string"}}}}
    if status in ("429", "503"):
        return {"headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}}
    return {}

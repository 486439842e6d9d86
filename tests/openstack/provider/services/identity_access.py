# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may do what: role assignments and application credentials."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from openstack.connection import Connection
from openstack.exceptions import ForbiddenException, NotFoundException

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import ProviderError, Resource, Service
from tests.openstack.provider.services.keystone import keystone, own_user
from tests.openstack.provider.values import Values

# the parts of an assignment's id, in this order
_PARTS = ("domain_id", "project_id", "group_id", "user_id", "role_id")


def _assignment_path(state: Values) -> str:
    parts = dict(zip(_PARTS, state["id"].split("/"), strict=True)) if state.get("id") else state
    if bool(parts["project_id"]) == bool(parts["domain_id"]) or bool(parts["user_id"]) == bool(
        parts["group_id"]
    ):
        raise ProviderError("one of project_id and domain_id, and one of user_id and group_id, must be given")
    target = f"projects/{parts['project_id']}" if parts["project_id"] else f"domains/{parts['domain_id']}"
    who = f"users/{parts['user_id']}" if parts["user_id"] else f"groups/{parts['group_id']}"
    return f"/{target}/{who}/roles/{parts['role_id']}"


def _assign(connection: Connection, wanted: Values) -> Values:
    answer = keystone(connection).put(_assignment_path({**wanted, "id": None}))
    if answer.status_code != 204:
        raise ProviderError(f"{answer.status_code} {answer.text[:200]}")
    return {"id": "/".join(wanted.get(name) or "" for name in _PARTS)}


def _read_assignment(connection: Connection, state: Values) -> Values:
    if keystone(connection).head(_assignment_path(state)).status_code != 204:
        raise NotFoundException(state["id"])
    return dict(zip(_PARTS, state["id"].split("/"), strict=True))


def _unassign(connection: Connection, state: Values) -> None:
    if keystone(connection).delete(_assignment_path(state)).status_code == 404:
        raise NotFoundException(state["id"])


def _create_credential(connection: Connection, wanted: Values) -> Values:
    asked: dict[str, Any] = {"name": wanted["name"], "unrestricted": bool(wanted.get("unrestricted"))}
    if wanted.get("description"):
        asked["description"] = wanted["description"]
    if wanted.get("secret"):
        asked["secret"] = wanted["secret"]
    if wanted.get("roles"):
        asked["roles"] = [{"name": name} for name in wanted["roles"]]
    if wanted.get("access_rules"):
        asked["access_rules"] = [
            {key: one[key] for key in ("path", "method", "service")} for one in wanted["access_rules"]
        ]
    if wanted.get("expires_at"):
        asked["expires_at"] = _moment(wanted["expires_at"]).strftime("%Y-%m-%dT%H:%M:%S")
    user = own_user(connection)
    made = keystone(connection).create_application_credential(user, **asked)
    # nobody tells it a second time
    return {"id": made.id, "secret": made.secret}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _read_credential(connection: Connection, state: Values) -> Values:
    found = keystone(connection).get_application_credential(own_user(connection), state["id"])
    expires = found.expires_at
    if expires and state.get("expires_at") and _moment(expires) == _moment(state["expires_at"]):
        expires = state["expires_at"]
    return {
        "name": found.name,
        "description": found.description,
        "unrestricted": found.unrestricted,
        "project_id": found.project_id,
        "roles": sorted(one["name"] for one in found.roles or []),
        "expires_at": expires or "",
        "access_rules": [
            {key: one[key] for key in ("id", "path", "method", "service")} for one in found.access_rules or []
        ],
    }


def _delete_credential(connection: Connection, state: Values) -> None:
    user = own_user(connection)
    keystone(connection).delete_application_credential(user, state["id"], ignore_missing=False)
    # Keystone keeps the rules of a credential that is gone, and shares them between credentials
    for rule in state.get("access_rules") or []:
        with suppress(ForbiddenException):
            keystone(connection).delete_access_rule(user, rule["id"])


SERVICE = Service(
    {
        "identity_role_assignment_v3": Resource(
            Facts(
                replaces="domain_id group_id project_id role_id user_id",
                conflicts=("domain_id project_id", "group_id user_id"),
            ),
            _assign,
            _read_assignment,
            _unassign,
        ),
        "identity_application_credential_v3": Resource(
            Facts(
                replaces=(
                    "name description unrestricted secret project_id roles expires_at"
                    " access_rules access_rules.path access_rules.method access_rules.service"
                ),
                sensitive="secret",
                defaults={"unrestricted": False},
            ),
            _create_credential,
            _read_credential,
            _delete_credential,
        ),
    }
)

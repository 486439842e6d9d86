# SPDX-License-Identifier: AGPL-3.0-or-later
"""Projects and users, roles that are there already."""

from __future__ import annotations

from typing import Any

from openstack.connection import Connection

from tests.openstack.provider.facts import Facts
from tests.openstack.provider.kinds import DataSource, Resource, Service, changed, given, only_one
from tests.openstack.provider.services.keystone import keystone, own_user
from tests.openstack.provider.values import Values

_PROJECT = {
    "name": "name",
    "description": "description",
    "domain_id": "domain_id",
    "enabled": "is_enabled",
    "is_domain": "is_domain",
    "parent_id": "parent_id",
}
_USER = {
    "name": "name",
    "description": "description",
    "domain_id": "domain_id",
    "enabled": "is_enabled",
    "default_project_id": "default_project_id",
    "password": "password",
}
_USER_OPTIONS = (
    "ignore_change_password_upon_first_use",
    "ignore_password_expiry",
    "ignore_lockout_failure_attempts",
    "multi_factor_auth_enabled",
)


def _create_project(connection: Connection, wanted: Values) -> Values:
    tags = {"tags": sorted(wanted["tags"])} if wanted.get("tags") else {}
    return {"id": keystone(connection).create_project(**given(wanted, _PROJECT), **tags).id}


def _read_project(connection: Connection, state: Values) -> Values:
    found = keystone(connection).get_project(state["id"])
    return {**{name: getattr(found, sdk) for name, sdk in _PROJECT.items()}, "tags": sorted(found.tags or [])}


def _update_project(connection: Connection, before: Values, after: Values) -> None:
    changes = changed(before, after, _PROJECT)
    if before.get("tags") != after.get("tags"):
        changes["tags"] = sorted(after.get("tags") or [])
    if changes:
        keystone(connection).update_project(before["id"], **changes)


def _delete_project(connection: Connection, state: Values) -> None:
    keystone(connection).delete_project(state["id"], ignore_missing=False)


def _options(wanted: Values) -> dict[str, Any]:
    options: dict[str, Any] = {name: wanted[name] for name in _USER_OPTIONS if wanted.get(name) is not None}
    rules = [one["rule"] for one in wanted.get("multi_factor_auth_rule") or []]
    if rules:
        options["multi_factor_auth_rules"] = rules
    return options


def _create_user(connection: Connection, wanted: Values) -> Values:
    asked = {**given(wanted, _USER), **(wanted.get("extra") or {})}
    if _options(wanted):
        asked["options"] = _options(wanted)
    return {"id": keystone(connection).create_user(**asked).id}


def _read_user(connection: Connection, state: Values) -> Values:
    found = keystone(connection).get_user(state["id"])
    seen: Values = {name: getattr(found, sdk) for name, sdk in _USER.items() if name != "password"}
    options = getattr(found, "options", None) or {}
    return {**seen, **{name: options[name] for name in _USER_OPTIONS if name in options}}


def _update_user(connection: Connection, before: Values, after: Values) -> None:
    changes: dict[str, Any] = changed(before, after, _USER)
    if _options(before) != _options(after):
        changes["options"] = _options(after)
    if changes:
        keystone(connection).update_user(before["id"], **changes)


def _delete_user(connection: Connection, state: Values) -> None:
    keystone(connection).delete_user(state["id"], ignore_missing=False)


def _role(connection: Connection, config: Values) -> Values:
    asked = given(config, {"name": "name", "domain_id": "domain_id"})
    found = [
        {"id": one.id, "name": one.name, "domain_id": one.domain_id or ""}
        for one in keystone(connection).roles(**asked)
    ]
    return only_one(found, "identity_role_v3")


def _project(connection: Connection, config: Values) -> Values:
    """Who may not list all projects finds those that are theirs."""
    if config.get("project_id"):
        found = [keystone(connection).get_project(config["project_id"])]
    else:
        found = _projects(connection, given(config, _PROJECT))
    values = [
        {
            **{name: getattr(one, sdk) for name, sdk in _PROJECT.items()},
            "id": one.id,
            "project_id": one.id,
            "tags": sorted(one.tags or []),
        }
        for one in found
    ]
    return only_one(values, "identity_project_v3")


def _projects(connection: Connection, asked: dict[str, object]) -> list[Any]:
    own = list(keystone(connection).user_projects(own_user(connection)))
    mine = [one for one in own if all(getattr(one, name) == value for name, value in asked.items())]
    return mine or list(keystone(connection).projects(**asked))


SERVICE = Service(
    {
        "identity_project_v3": Resource(
            Facts(
                replaces="domain_id is_domain parent_id",
                defaults={"enabled": True, "is_domain": False},
            ),
            _create_project,
            _read_project,
            _delete_project,
            _update_project,
        ),
        "identity_user_v3": Resource(
            Facts(sensitive="password", defaults={"enabled": True}),
            _create_user,
            _read_user,
            _delete_user,
            _update_user,
        ),
    },
    {"identity_role_v3": DataSource(_role), "identity_project_v3": DataSource(_project)},
)

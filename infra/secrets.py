# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which files an instance waits for, by its kind; what they hold is in docs/infra.md."""

from __future__ import annotations

from infra.cloud_init.lxd_host import image_settings
from infra.settings import LxdHosts, Settings, Workers

_OPERATORS = "operators.keys"
_AUTHORITY = "authority.crt"


def broker_files() -> tuple[str, ...]:
    """Of each node."""
    return (_OPERATORS, _AUTHORITY, "erlang.cookie", "server.crt", "server.key", "users.json")


def database_files() -> tuple[str, ...]:
    """Of the database."""
    return (_OPERATORS, "functions.password", "server.crt", "server.key", "site.password")


def functions_files(settings: Settings) -> tuple[str, ...]:
    """Of each instance of the functions, with the operator's files."""
    return (_OPERATORS, _AUTHORITY, "functions.env", *(f"{name}.toml" for name in settings.functions.files))


def web_files() -> tuple[str, ...]:
    """Of each instance of the site."""
    return (_OPERATORS, _AUTHORITY, "web.env")


def balancer_files(settings: Settings) -> tuple[str, ...]:
    """Of the balancer."""
    return (_OPERATORS, *(("site.crt", "site.key") if settings.balancer.tls == "files" else ()))


def lxd_host_files() -> tuple[str, ...]:
    """Of a LXD host. ``images.toml`` is no secret: `made_files` has it."""
    return (_OPERATORS, "images.toml", "lxd-client.crt", "lxd-server.crt", "lxd-server.key")


def worker_files(group: Workers) -> tuple[str, ...]:
    """Of a worker."""
    lxd = ("lxd-client.crt", "lxd-client.key", "lxd-server.crt") if group.testbed == "lxd" else ()
    return (_OPERATORS, _AUTHORITY, *lxd, "worker.env")


def made_files(settings: Settings, group: LxdHosts | None = None) -> dict[str, str]:
    """Those that follow from the settings: name → content."""
    keys = "".join(f"{operator.key}\n" for operator in settings.operators)
    return {_OPERATORS: keys, **({"images.toml": image_settings(settings, group)} if group else {})}

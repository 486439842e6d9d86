# SPDX-License-Identifier: AGPL-3.0-or-later
"""The few settings that this function needs, from the same file and variables as all others.

Read without pydantic, which takes 0.2 s of the 0.4 s that a start may take;
tests/contract/test_webhook_settings.py holds both readers together.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from testyard.errors import SettingsError


@dataclass(frozen=True)
class WebhookSettings:
    """`broker.url`, `intake.projects` and `intake.trusted_proxies`."""

    broker_url: str = "amqp://guest:guest@127.0.0.1:5672/%2F"
    projects: Path | None = None
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")


def load_webhook_settings(environment: Mapping[str, str] = os.environ) -> WebhookSettings:
    """As `testyard.settings.load_settings`. Raises SettingsError naming the key."""
    content = _file(environment.get("TESTYARD_CONFIG"))
    ours = WebhookSettings()
    url = _value(content, environment, "broker", "url")
    projects = _value(content, environment, "intake", "projects")
    proxies = _value(content, environment, "intake", "trusted_proxies")
    return WebhookSettings(
        broker_url=ours.broker_url if url is None else _text("broker.url", url),
        projects=None if projects is None else Path(_text("intake.projects", projects)),
        trusted_proxies=ours.trusted_proxies if proxies is None else _networks(proxies),
    )


def _file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise SettingsError(
            f"TESTYARD_CONFIG: no file {path}",
            resolution="Name an existing settings file, or unset the variable.",
        ) from error
    except (ValueError, OSError) as error:
        raise SettingsError(f"{path}: not a readable TOML file", details=str(error)) from error


def _value(content: Mapping[str, Any], environment: Mapping[str, str], section: str, key: str) -> Any:
    variable = f"TESTYARD_{section}__{key}".upper()
    if variable in environment:
        return environment[variable]
    table = content.get(section, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{section}: must be a table of keys and values")
    return table.get(key)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{name}: must be text")
    return value


def _networks(value: Any) -> tuple[str, ...]:
    found = _list("intake.trusted_proxies", value)
    for proxy in found:
        try:
            ip_network(proxy, strict=False)
        except ValueError as error:
            raise SettingsError(f"intake.trusted_proxies: {proxy} is no address and no network") from error
    return found


def _list(name: str, value: Any) -> tuple[str, ...]:
    try:
        items = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise SettingsError(f'{name}: must be a list, such as ["a", "b"]') from error
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise SettingsError(f'{name}: must be a list, such as ["a", "b"]')
    return tuple(items)

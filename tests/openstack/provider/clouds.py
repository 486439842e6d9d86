# SPDX-License-Identifier: AGPL-3.0-or-later
"""The provider's settings, and connections to the cloud by region."""

from __future__ import annotations

import threading
from typing import Any

import openstack
from openstack.connection import Connection

from tests.openstack.provider.kinds import ProviderError
from tests.openstack.provider.values import Values

_SETTINGS = {
    "auth_url": "auth_url",
    "user_name": "username",
    "user_id": "user_id",
    "password": "password",
    "tenant_name": "project_name",
    "tenant_id": "project_id",
    "user_domain_name": "user_domain_name",
    "user_domain_id": "user_domain_id",
    "project_domain_name": "project_domain_name",
    "project_domain_id": "project_domain_id",
    "application_credential_id": "application_credential_id",
    "application_credential_name": "application_credential_name",
    "application_credential_secret": "application_credential_secret",
    "token": "token",
    "cacert_file": "cacert",
}


class Clouds:
    """One connection for each region; clouds.yaml and ``OS_*`` count where settings are silent."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] | None = None
        self._open: dict[str | None, Connection] = {}
        self._lock = threading.Lock()

    def configure(self, config: Values) -> None:
        """Keep the provider's settings; nothing is contacted yet."""
        settings: dict[str, Any] = {sdk: config[name] for name, sdk in _SETTINGS.items() if config.get(name)}
        if settings.get("application_credential_id") or settings.get("application_credential_name"):
            settings["auth_type"] = "v3applicationcredential"
        if config.get("cloud"):
            settings["cloud"] = config["cloud"]
        if config.get("region"):
            settings["region_name"] = config["region"]
        if config.get("insecure"):
            settings["verify"] = False
        self._settings = settings

    def connection(self, region: str | None) -> Connection:
        """The connection to ``region``, or to the provider's own. Raises ProviderError."""
        if self._settings is None:
            raise ProviderError("the provider is not configured")
        with self._lock:
            if region not in self._open:
                more = {"region_name": region} if region else {}
                self._open[region] = openstack.connect(**{**self._settings, **more})
            return self._open[region]


def region_of(connection: Connection) -> str:
    """The name of the region that ``connection`` leads to; "" if clouds.yaml names none."""
    return connection.config.get_region_name() or ""

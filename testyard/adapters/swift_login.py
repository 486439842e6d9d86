# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logging in to Swift: its own authentication (version 1), or Keystone (version 3)."""

from __future__ import annotations

from typing import Any

import swiftclient
from keystoneauth1.exceptions import EndpointNotFound
from keystoneauth1.identity import v3
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session

from testyard.settings import Store as StoreSettings

#: Seconds that one request may take without a sign of life.
TIMEOUT = 60

#: Seconds between two attempts, at most.
LONGEST_PAUSE = 60


def connection(settings: StoreSettings, *, timeout: float = TIMEOUT) -> swiftclient.Connection:
    """A connection that logs in when first used, and again when its token has run out."""
    options: dict[str, Any] = {
        "retries": settings.retries,
        "starting_backoff": 1,
        "max_backoff": LONGEST_PAUSE,
        "timeout": timeout,
    }
    if settings.auth_version == "1":
        return swiftclient.Connection(
            authurl=settings.auth_url,
            user=settings.user,
            key=settings.key.get_secret_value(),
            auth_version="1",
            **options,
        )
    region = {"region_name": settings.region} if settings.region else {}
    session = _Session(auth=_credentials(settings), timeout=timeout, connect_retries=settings.retries)
    return swiftclient.Connection(session=session, os_options=region, **options)


def _credentials(settings: StoreSettings) -> BaseAuthPlugin:
    url, key = _versioned(settings.auth_url), settings.key.get_secret_value()
    if settings.application_credential:
        return v3.ApplicationCredential(
            url, application_credential_id=settings.application_credential, application_credential_secret=key
        )
    return v3.Password(
        url,
        username=settings.user,
        password=key,
        project_name=settings.project,
        user_domain_name=settings.user_domain,
        project_domain_name=settings.project_domain,
    )


def _versioned(url: str) -> str:
    bare = url.rstrip("/")
    return bare if bare.endswith("/v3") else f"{bare}/v3"


class _Session(Session):
    """Says what is missing where keystoneauth says None."""

    def get_endpoint(self, auth: Any = None, **options: Any) -> str:
        """Where the service is. Raises EndpointNotFound."""
        found = super().get_endpoint(auth, **options)
        if not found:
            raise EndpointNotFound("no object store in the catalogue")
        return str(found)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logging in to Swift: its own authentication (version 1), or Keystone (version 3)."""

from __future__ import annotations

import threading
from collections.abc import Callable
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


class Login:
    """Opens connections that log in once between them: with Keystone a login takes longer than an upload.

    For use by any thread.
    """

    def __init__(self, settings: StoreSettings, *, timeout: float = TIMEOUT) -> None:
        """``timeout``: seconds that one request may take without a sign of life."""
        self._settings = settings
        self._timeout = timeout
        self._lock = threading.Lock()
        self._found: tuple[str, str] | None = None

    def connection(self) -> swiftclient.Connection:
        """A connection that logs in when first used, and again when its token has run out."""
        settings = self._settings
        options: dict[str, Any] = {
            "retries": settings.retries,
            "starting_backoff": 1,
            "max_backoff": LONGEST_PAUSE,
            "timeout": self._timeout,
        }
        if settings.auth_version == "1":
            return _Connection(
                self,
                authurl=settings.auth_url,
                user=settings.user,
                key=settings.key.get_secret_value(),
                auth_version="1",
                **options,
            )
        region = {"region_name": settings.region} if settings.region else {}
        session = _Session(
            auth=_credentials(settings), timeout=self._timeout, connect_retries=settings.retries
        )
        return _Connection(self, session=session, os_options=region, **options)

    def share(
        self, refused: tuple[str, str] | None, log_in: Callable[[], tuple[str, str]]
    ) -> tuple[str, str]:
        """Address and token: what another connection has found, unless the store has ``refused`` it."""
        # a silent server must not keep each one waiting for all that came before it
        held = self._lock.acquire(timeout=self._timeout)
        try:
            found = self._found
            if found is None or found == refused:
                found = self._found = log_in()
            return found
        finally:
            if held:
                self._lock.release()


class _Connection(swiftclient.Connection):  # type: ignore[misc]  # the library has no types
    """Asks `Login` before it logs in."""

    def __init__(self, login: Login, **options: Any) -> None:
        super().__init__(**options)
        self._login = login
        self._had: tuple[str, str] | None = None

    def get_auth(self) -> tuple[str, str]:
        """Called when there is no token, and after the store has refused the one that there was."""
        self._had = self._login.share(self._had, super().get_auth)
        return self._had


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
    """Says what is missing where keystoneauth says None; a refused token is always worth another try."""

    def invalidate(self, auth: Any = None) -> bool:
        """Forget the token; another connection may have got it, and have a new one by now."""
        super().invalidate(auth)
        return True

    def get_endpoint(self, auth: Any = None, **options: Any) -> str:
        """Where the service is. Raises EndpointNotFound."""
        found = super().get_endpoint(auth, **options)
        if not found:
            raise EndpointNotFound("no object store in the catalogue")
        return str(found)

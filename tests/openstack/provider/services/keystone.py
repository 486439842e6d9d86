# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keystone's third version, and who is asking."""

from __future__ import annotations

from openstack.connection import Connection
from openstack.identity.v3._proxy import Proxy

from tests.openstack.provider.kinds import ProviderError


def keystone(connection: Connection) -> Proxy:
    """The identity service. Raises ProviderError if it is of the version before."""
    if not isinstance(connection.identity, Proxy):
        raise ProviderError("the identity service is not version 3")
    return connection.identity


def own_user(connection: Connection) -> str:
    """The id of the user that the provider acts as. Raises ProviderError."""
    found = connection.session.get_user_id()
    if not found:
        raise ProviderError("the credentials tell no user")
    return found

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A region's cloud, as terraform reaches it too; its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from infra.settings import Region
from testyard.errors import TestyardError

#: Seconds for one answer.
_SECONDS = 60.0


@contextmanager
def cloud_of(region: Region) -> Iterator[Connection]:
    """A connection with the entry of clouds.yaml, or ``OS_*``. Raises TestyardError."""
    try:
        with openstack.connect(
            cloud=region.cloud, region_name=region.name, api_timeout=_SECONDS, app_name="testyard"
        ) as connection:
            yield connection
    except (SDKException, ClientException) as error:
        details = " ".join(str(getattr(error, "details", None) or error).split())[:300]
        raise TestyardError(
            f"regions.{region.name}: the cloud says: {details}",
            resolution=f"See to {region.cloud or 'the OS_* variables'}"
            + (" in clouds.yaml." if region.cloud else "."),
        ) from error

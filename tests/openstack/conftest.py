# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests on OpenStack share: the control plane, one for a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from openstack.connection import Connection

from tests.openstack.plane.cloud import ADMIN_CLOUD, Plane, plane_of, running_plane
from tests.openstack.plane.state import known, load_or_create
from tests.openstack.terraform import terraform_rc

__all__ = ["terraform_rc"]


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Started once for all tests of a process; a test leaves it as it was.

    Or the one that ``TESTYARD_TEST_PLANE`` names: ``python -m tests.openstack.plane up FOLDER``.
    """
    folder = os.environ.get("TESTYARD_TEST_PLANE")
    if folder:
        assert known(Path(folder)), f"TESTYARD_TEST_PLANE: no plane is in {folder}"
        yield plane_of(load_or_create(Path(folder)))
        return
    with running_plane(tmp_path_factory.mktemp("plane")) as found:
        yield found


@pytest.fixture(scope="session")
def admin(plane: Plane) -> Iterator[Connection]:
    """The cloud's operator."""
    with plane.connect(ADMIN_CLOUD) as found:
        yield found


@pytest.fixture(scope="session")
def member(plane: Plane) -> Iterator[Connection]:
    """The project's user, who may do no more than a customer of the cloud."""
    with plane.connect() as found:
        yield found

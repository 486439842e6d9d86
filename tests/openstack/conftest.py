# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests on OpenStack share."""

from __future__ import annotations

from tests.openstack.terraform import terraform_rc

__all__ = ["terraform_rc"]

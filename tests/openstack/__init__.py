# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tests on a real OpenStack control plane: :mod:`tests.openstack.plane`."""

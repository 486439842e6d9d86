# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real OpenStack control plane on loopback, for tests.

Keystone, Placement, Glance, Neutron, Nova, Cinder and Swift as they are released, one process each, on
a private MariaDB. What stands for hardware is ours (:mod:`tests.openstack.plane.services`): machines,
networks and disks are rows in a database, and no packet goes anywhere. docs/testing.md tells the rest.
"""

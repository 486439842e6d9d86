# SPDX-License-Identifier: AGPL-3.0-or-later
"""What runs in ``.venv-openstack``: the services, and the three drivers that stand for hardware.

Nothing here may import what only the tests' own environment has.
"""

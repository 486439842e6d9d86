# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stand-in for terraform's official OpenStack provider, for tests only: see README.md."""

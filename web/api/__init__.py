# SPDX-License-Identifier: AGPL-3.0-or-later
"""The reading part of /api/v1 (docs/api.md)."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes the deliveries of forges, and does no more than that: docs/hooks.md."""

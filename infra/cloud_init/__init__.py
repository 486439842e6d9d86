# SPDX-License-Identifier: AGPL-3.0-or-later
"""What instances are told at their first start: one document for each kind. Knows nothing of cdktf."""

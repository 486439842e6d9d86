# SPDX-License-Identifier: AGPL-3.0-or-later
"""What more than one stack needs."""

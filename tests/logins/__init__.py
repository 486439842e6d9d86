# SPDX-License-Identifier: AGPL-3.0-or-later
"""Providers that the tests of logins start."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Testyard's shared library: requests, queues, runs, results, and the ways to reach them."""

__version__ = "0.1.0"

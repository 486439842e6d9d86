# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API that both rooms serve: what it takes and answers, and the document that says so."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""One module per stack; a stack is what is deployed, and fails, on its own."""

# SPDX-License-Identifier: AGPL-3.0-or-later
"""One module a page family. Each makes a frozen context, which is both the page and its JSON twin."""

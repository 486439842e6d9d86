# SPDX-License-Identifier: AGPL-3.0-or-later
"""What all our pages look like, whoever serves them: frame, colours, headers."""

from testyard.look.headers import HEADERS, SafeHeaders
from testyard.look.pages import Frame, look_routes, make_templates

__all__ = ["HEADERS", "Frame", "SafeHeaders", "look_routes", "make_templates"]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What several of these tests need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.testyard.sites import Site, serving


@pytest.fixture
def site() -> Iterator[Site]:
    """A site without pages."""
    with serving() as found:
        yield found

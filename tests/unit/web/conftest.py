# SPDX-License-Identifier: AGPL-3.0-or-later
"""One site on one filled index for all page tests: they only read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.web.samples import Browser, app_on


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(app_on(tmp_path_factory.mktemp("site"))) as browser:
        yield browser

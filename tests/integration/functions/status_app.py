# SPDX-License-Identifier: AGPL-3.0-or-later
"""The part of the forge function that tells forges, served alone."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette

from functions.asgi import function_app
from functions.forge.statuses import status_work
from testyard.intake.projects import ProjectFile
from testyard.settings import load_settings


def create_app() -> Starlette:
    """The ASGI app; settings come from ``TESTYARD_CONFIG`` and environment."""
    settings = load_settings()
    return function_app(status_work(settings, ProjectFile(settings.intake.projects).now))


if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=0, log_level="warning")

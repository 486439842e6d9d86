# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame of every page: its template, its files, and where its links lead."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from testyard.duration import age_text
from testyard.look.words import iso, stamp
from testyard.settings import Settings

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"


@dataclass(frozen=True)
class Frame:
    """Where the links in the header lead: ``site`` and ``intake`` stand before a path, and may be empty.

    ``asks`` is true if people may ask for tests; ``scripts`` are files that every page loads.
    """

    site: str = ""
    intake: str = ""
    asks: bool = False
    scripts: tuple[str, ...] = ()

    @classmethod
    def of_site(cls, settings: Settings) -> Frame:
        """For pages that the site serves."""
        intake, site = settings.intake, settings.site.url.rstrip("/")
        url = intake.url.rstrip("/")
        return cls(
            intake=url if url != site else "",
            asks=bool(url or intake.logins),
            scripts=("live.js",),
        )

    @classmethod
    def of_intake(cls, settings: Settings) -> Frame:
        """For pages that the request function serves, which may have an address of its own."""
        own = settings.intake.url.rstrip("/")
        site = settings.site.url.rstrip("/")
        return cls(site=site if own and own != site else "", asks=True)


def make_templates(templates: Path, frame: Frame, *static: Path) -> Environment:
    """The templates of a folder, with our frame; ``static`` are folders of further files."""
    environment = Environment(
        loader=FileSystemLoader((templates, _HERE / "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"age": age_text, "iso": iso, "stamp": stamp}
    environment.globals |= {"static": _static_addresses((_STATIC, *static)), "frame": frame, "who": None}
    return environment


def look_routes(*static: Path) -> list[BaseRoute]:
    """The addresses of the frame's files, and of those in ``static``."""
    files = StaticFiles(directory=_STATIC)
    files.all_directories = [*static, *files.all_directories]
    return [Route("/favicon.svg", _favicon), Mount("/static", files)]


async def _favicon(_request: Request) -> Response:
    return FileResponse(
        _STATIC / "favicon.svg",
        media_type="image/svg+xml",
        headers={"Cache-Control": "public, max-age=86400"},
    )


def _static_addresses(folders: Sequence[Path]) -> dict[str, str]:
    # the contents' digest in the address lets browsers keep the files for long
    return {
        path.name: f"/static/{path.name}?{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        for folder in folders
        for path in folder.iterdir()
        if path.is_file()
    }

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The projects whose hooks are taken: one TOML file, `intake.projects` (docs/hooks.md).

    [projects."github/owner/project"]
    secret_file = "/etc/testyard/hook-secret"
    token_file = "/etc/testyard/token"
    release = ["trixie"]

``github/owner/*`` is for all of an owner, ``github/*`` for whoever has the secret; the closest one counts.
Standard library only: the webhook function must start fast.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from testyard.errors import SettingsError
from testyard.filetable import SECRET_ENDS, FileTable, read_toml

log = logging.getLogger(__name__)

FORGES = ("github", "gitlab", "forgejo", "gitea")

#: Where each forge is unless a project says otherwise.
_ADDRESS = {
    "github": "https://github.com",
    "gitlab": "https://gitlab.com",
    "forgejo": "https://codeberg.org",
    "gitea": "https://gitea.com",
}
_API = {"github": "/api/v3", "gitlab": "/api/v4", "forgejo": "/api/v1", "gitea": "/api/v1"}
_NAME = re.compile(r"(?:[A-Za-z0-9_.-]+/)*(?:[A-Za-z0-9_.-]+|\*)")
_LEAST_SECRET = 8
#: Keys of a project's table that say what is asked for when nobody says it: text, or a list of texts.
_TEXTS = ("package", "build-git", "testname")
_LISTS = ("release", "arch", "ppa", "env")
#: Keys that are secret. Each may be given in three ways (`testyard.filetable`).
_SECRETS = ("secret", "token", "private_key")


class HasProjects(Protocol):
    """The section of the settings that is needed here."""

    @property
    def projects(self) -> Path | None: ...


class HasIntake(Protocol):
    """The settings, as far as they are needed here."""

    @property
    def intake(self) -> HasProjects: ...


@dataclass(frozen=True)
class Project:
    """One project, or all that a pattern names.

    ``path`` is ``owner/project``. ``secrets`` sign its hooks, any of them: two while one is replaced.
    ``sha1`` takes GitHub's older signatures too. ``token``, or ``app_id`` and ``private_key`` of a GitHub
    App, let us tell the forge. ``url`` is the forge's address, ``api`` its API's, both without a slash at
    the end. ``defaults`` has what requests ask for: ``release``, ``arch``, ``ppa``, ``env`` (lists),
    ``package``, ``build-git``, ``testname``.
    """

    forge: str
    path: str
    url: str
    api: str
    secrets: tuple[str, ...] = field(repr=False)
    sha1: bool = False
    token: str = field(default="", repr=False)
    app_id: str = ""
    private_key: str = field(default="", repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def owner(self, login: str) -> str:
        """How policies name somebody of the forge: ``github/jane``, ``gitlab:git.example.org/jane``.

        A name on one forge is not the same person's on another: only the usual one goes without its host.
        """
        usual = self.url == _ADDRESS[self.forge]
        return f"{self.forge}{'' if usual else ':' + urlsplit(self.url).netloc}/{login}"


@dataclass(frozen=True)
class Projects:
    """All projects, by ``forge/path``. ``files`` are those that secrets were read from."""

    by_name: Mapping[str, Project] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @classmethod
    def load(cls, settings: HasIntake) -> Projects:
        """Those of the file `intake.projects`; none if there is no such setting. Raises SettingsError."""
        return cls.read(settings.intake.projects) if settings.intake.projects else cls()

    @classmethod
    def read(cls, path: Path) -> Projects:
        """Those of a file. Raises SettingsError naming the project and key that is wrong."""
        content = read_toml("intake.projects", path)
        tables = content.pop("projects", {})
        if content or not isinstance(tables, dict):
            raise SettingsError(
                f'intake.projects: {path} must hold tables such as [projects."github/owner/project"] only'
            )
        found = {name: _project(name, table) for name, table in tables.items()}
        keys = [f"{key}_file" for key in _SECRETS]
        return cls(
            found, tuple(Path(table[key]) for table in tables.values() for key in keys if key in table)
        )

    def of(self, forge: str, path: str) -> Project | None:
        """The project's own table, or that of the closest pattern; None if nobody has named it."""
        names = [f"{forge}/{path}"]
        while "/" in path:
            path = path.rpartition("/")[0]
            names.append(f"{forge}/{path}/*")
        names.append(f"{forge}/*")
        return next((found for name in names if (found := self.by_name.get(name))), None)


class ProjectFile:
    """The projects of a file that may change, as may its secrets' files: looked at each ``pause`` seconds.

    A new file that is wrong is logged, and the projects stay as they were.
    """

    def __init__(self, path: Path | None, *, pause: float = 2.0) -> None:
        self._path, self._pause = path, pause
        self._looked = time.monotonic()
        seen = _stamp(path)
        self._projects = Projects.read(path) if path else Projects()
        self._seen = (seen, *map(_stamp, self._projects.files))

    def now(self) -> Projects:
        """As they are now."""
        if time.monotonic() - self._looked >= self._pause:
            self._looked = time.monotonic()
            stamp = _stamp(self._path)
            if self._path and (stamp, *map(_stamp, self._projects.files)) != self._seen:
                try:
                    self._projects = Projects.read(self._path)
                    log.info("%s was read again: %d projects", self._path, len(self._projects.by_name))
                except SettingsError as error:
                    log.error("%s; the projects stay as they were", error.brief)
                self._seen = (stamp, *map(_stamp, self._projects.files))
        return self._projects


def _stamp(path: Path | None) -> tuple[int, int, int]:
    try:
        found = path.stat() if path else None
    except OSError:
        found = None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else (0, 0, 0)


def _project(name: str, table: object) -> Project:
    forge, _, path = name.partition("/")
    place = f'intake.projects: projects."{name[:100]}"'
    if forge not in FORGES or not _NAME.fullmatch(path):
        raise SettingsError(f"{place}: is not <forge>/<owner>/<project>; forges are {', '.join(FORGES)}")
    known = {f"{key}{end}" for key in _SECRETS for end in SECRET_ENDS}
    known |= {"url", "api", "sha1", "app_id", *_TEXTS, *_LISTS}
    given = FileTable.of(place, table, sorted(known), numbers=True)  # an app's id is one
    sha1 = given.values.get("sha1", False)
    if not isinstance(sha1, bool):
        raise given.wrong("sha1: must be true or false")
    url = _address(given, "url") or _ADDRESS[forge]
    own_api = f"{url}{_API[forge]}"
    if forge == "github" and url == _ADDRESS["github"]:
        own_api = "https://api.github.com"
    return Project(
        forge=forge,
        path=path,
        url=url,
        api=_address(given, "api") or own_api,
        secrets=_hook_secrets(given),
        sha1=sha1,
        token=given.secret("token"),
        app_id=given.text("app_id"),
        private_key=given.secret("private_key"),
        defaults=_defaults(given),
    )


def _defaults(given: FileTable) -> dict[str, Any]:
    found: dict[str, Any] = {key: given.text(key) for key in _TEXTS if key in given.values}
    return found | {key: given.texts(key) for key in _LISTS if key in given.values}


def _hook_secrets(given: FileTable) -> tuple[str, ...]:
    several = given.values.get("secret")
    secrets = tuple(several) if isinstance(several, list) else (given.secret("secret"),)
    if not all(isinstance(secret, str) and len(secret) >= _LEAST_SECRET for secret in secrets) or not secrets:
        raise given.wrong(f"secret (or secret_file, secret_env): needs {_LEAST_SECRET} characters or more")
    return secrets


def _address(given: FileTable, key: str) -> str:
    value = given.text(key).rstrip("/")
    try:
        parts = urlsplit(value)
        good = not value or (parts.scheme in ("http", "https") and parts.hostname and not parts.query)
    except ValueError:
        good = False
    if not good:
        raise given.wrong(f"{key}: must be an http(s) address")
    return value

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The places where people log in: the file that ``intake.logins`` names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator, model_validator

from testyard.errors import SettingsError
from testyard.section import Section
from testyard.settings import Settings, setting_problem

#: They begin owners of other kinds: whoever could log in there would be an operator.
_TAKEN = ("operator", "hook")


class _Place(Section):
    """What all kinds have. ``key`` is the table's name: owners are ``<key>/<user>``."""

    key: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    name: str = Field(default="", max_length=60)
    url: str = ""

    @field_validator("key")
    @classmethod
    def _is_free(cls, key: str) -> str:
        if key in _TAKEN:
            raise ValueError(f"{key} is for others: choose another name")
        return key

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        return _checked_address(url) if url else ""


def _checked_address(url: str) -> str:
    """An address over TLS, or of this machine for trying things out."""
    parts = urlsplit(url)
    loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not (parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and loopback))):
        raise ValueError("must be an https address")
    return url


class _Client(_Place):
    """A place that knows us by an id and a secret."""

    client_id: str
    client_secret: SecretStr = SecretStr("")
    client_secret_file: Path | None = None

    @model_validator(mode="after")
    def _has_one_secret(self) -> _Client:
        if bool(self.client_secret.get_secret_value()) == (self.client_secret_file is not None):
            raise ValueError("needs client_secret or client_secret_file, and not both")
        return self

    def secret(self) -> str:
        """The client's secret. Raises SettingsError if its file cannot be read."""
        if self.client_secret_file is None:
            return self.client_secret.get_secret_value()
        try:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self.key}: client_secret_file cannot be read") from error


class OidcPlace(_Client):
    """An OpenID Connect provider; ``issuer`` is its address as it names itself.

    ``user_claim`` says who it is, and must be nobody else's ever; ``groups_claim`` lists groups.
    """

    kind: Literal["oidc"]
    issuer: str
    scopes: tuple[str, ...] = ("openid", "profile")
    user_claim: str = "sub"
    groups_claim: str = "groups"

    @field_validator("user_claim")
    @classmethod
    def _is_theirs_alone(cls, claim: str) -> str:
        if claim in ("email", "name"):
            raise ValueError(f"{claim} is what people choose: name the claim that is theirs alone")
        return claim

    @field_validator("issuer")
    @classmethod
    def _issuer_is_address(cls, issuer: str) -> str:
        return _checked_address(issuer)


class GithubPlace(_Client):
    """GitHub, or an Enterprise server at ``url``."""

    kind: Literal["github"]
    url: str = "https://github.com"
    teams: bool = True


class OpenidPlace(_Place):
    """An OpenID 2.0 provider at ``url``, such as Ubuntu's; ``teams`` are those that it is asked for."""

    kind: Literal["openid2"]
    url: str = "https://login.ubuntu.com/"
    teams: tuple[str, ...] = ()


Place = Annotated[OidcPlace | GithubPlace | OpenidPlace, Field(discriminator="kind")]
_PLACE: TypeAdapter[OidcPlace | GithubPlace | OpenidPlace] = TypeAdapter(Place)
_NAMES = {"oidc": "Log in", "github": "GitHub", "openid2": "Ubuntu"}


def read_places(settings: Settings) -> tuple[OidcPlace | GithubPlace | OpenidPlace, ...]:
    """All places, in the file's order; none without a file. Raises SettingsError naming what is wrong."""
    path = settings.intake.logins
    if path is None:
        return ()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"intake.logins: {path}: not a readable TOML file") from error
    if not settings.intake.url and not settings.site.url:
        raise SettingsError("intake.logins: needs intake.url or site.url, where people come back to")
    return tuple(_place(path, key, table) for key, table in tables.items())


def _place(path: Path, key: str, table: object) -> OidcPlace | GithubPlace | OpenidPlace:
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: {key}: must be a table, [{key}]")
    try:
        found = _PLACE.validate_python({"key": key, **table})
    except ValidationError as error:
        problems = [setting_problem(each, OidcPlace, key) for each in error.errors()]
        raise SettingsError(f"{path}: the logins are wrong.", details="\n".join(problems)) from error
    if isinstance(found, OidcPlace | GithubPlace):
        found.secret()
    return found if found.name else found.model_copy(update={"name": _NAMES[found.kind]})

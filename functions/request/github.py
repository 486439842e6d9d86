# SPDX-License-Identifier: AGPL-3.0-or-later
"""Login by GitHub, which speaks OAuth 2.0 and no OpenID Connect."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from functions.request.oidc import with_query
from functions.request.places import GithubPlace
from functions.request.provider import LoginError, Person, Start, asked_json

_PAGE = 100
_MOST_PAGES = 10


class GithubProvider:
    """See `Provider`. Groups are organisations, and teams as ``organisation/team``."""

    def __init__(self, place: GithubPlace) -> None:
        self._place = place
        self._url = place.url.rstrip("/")
        public = self._url == "https://github.com"
        self._api = "https://api.github.com" if public else f"{self._url}/api/v3"

    def start(self, back: str, state: str) -> Start:
        """See `Provider`."""
        verifier = secrets.token_urlsafe(48)
        query = {
            "client_id": self._place.client_id,
            "redirect_uri": back,
            "scope": "read:user read:org" if self._place.teams else "read:user",
            "state": state,
            "allow_signup": "false",
            "response_type": "code",
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return Start(with_query(f"{self._url}/login/oauth/authorize", query), {"verifier": verifier})

    def finish(self, back: str, state: str, kept: Mapping[str, str], told: Mapping[str, str]) -> Person:
        """See `Provider`."""
        answer = asked_json(
            "POST",
            f"{self._url}/login/oauth/access_token",
            data={
                "grant_type": "authorization_code",
                "client_id": self._place.client_id,
                "client_secret": self._place.secret(),
                "code": told.get("code", ""),
                "redirect_uri": back,
                "code_verifier": kept["verifier"],
            },
            headers={"Accept": "application/json"},
        )
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:  # GitHub refuses with status 200
            raise LoginError("The provider refused this login. Try again.")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        user = asked_json("GET", f"{self._api}/user", headers=headers)
        login = user.get("login") if isinstance(user, dict) else None
        return Person.of(login, login, self._groups(headers) if self._place.teams else ())

    def _groups(self, headers: Mapping[str, str]) -> list[str]:
        groups = [str(each.get("login", "")) for each in self._all("/user/orgs", headers)]
        for team in self._all("/user/teams", headers):
            organisation = team.get("organization") or {}
            groups.append(f"{organisation.get('login', '')}/{team.get('slug', '')}")
        return groups

    def _all(self, path: str, headers: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for number in range(1, _MOST_PAGES + 1):
            page = asked_json("GET", f"{self._api}{path}?per_page={_PAGE}&page={number}", headers=headers)
            items = [each for each in page if isinstance(each, dict)] if isinstance(page, list) else []
            found += items
            if len(items) < _PAGE:
                break
        return found

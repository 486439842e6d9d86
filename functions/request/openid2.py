# SPDX-License-Identifier: AGPL-3.0-or-later
"""Login by OpenID 2.0, as Ubuntu's: nickname by simple registration, teams by Launchpad's extension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx
from openid import fetchers
from openid.consumer.consumer import SUCCESS, Consumer
from openid.consumer.discover import DiscoveryFailure, discover
from openid.extensions import sreg

from functions.request.places import OpenidPlace
from functions.request.provider import Kept, LoginError, Person, ProviderAwayError, Start, asked
from testyard.errors import words_of

_REDIRECTIONS = 3
_TEAMS = "http://ns.launchpad.net/2007/openid-teams"


class OpenidProvider:
    """See `Provider`. Of logins it keeps nothing: the provider is asked whether it has given an answer."""

    def __init__(self, place: OpenidPlace) -> None:
        self._place = place
        self._kept = Kept()
        # the library has one way to reach the net for all of a process; its own has no time limit
        fetchers.setDefaultFetcher(Fetcher(), wrap_exceptions=False)

    def start(self, back: str, state: str) -> Start:
        """See `Provider`."""
        service = self._kept.asked(self._place.url, self._service)
        request = Consumer({}, None).beginWithoutDiscovery(service)
        request.addExtension(sreg.SRegRequest(required=["nickname"]))
        if self._place.teams:
            request.addExtensionArg(_TEAMS, "query_membership", ",".join(self._place.teams))
        url = request.redirectURL(_origin(back), f"{back}?{urlencode({'state': state})}")
        return Start(url, {"server": request.endpoint.server_url})

    def _service(self) -> Any:
        try:
            services = discover(self._place.url)[1]
        except (DiscoveryFailure, fetchers.HTTPFetchingError) as error:
            raise ProviderAwayError(f"{self._place.key}: {words_of(error)}") from error
        if not services:
            raise ProviderAwayError(f"{self._place.key}: no OpenID service is at {self._place.url}")
        return services[0]

    def finish(self, back: str, state: str, kept: Mapping[str, str], told: Mapping[str, str]) -> Person:
        """See `Provider`."""
        # before anything is fetched: anybody can name any provider and any identity in an address
        claimed = told.get("openid.claimed_id", "")
        server = told.get("openid.op_endpoint", "")
        if told.get("openid.mode") != "cancel" and (
            server != kept["server"] or _origin(claimed) != _origin(self._place.url)
        ):
            raise LoginError("The answer is another provider's. Try again.")
        try:
            response = Consumer({}, None).complete(dict(told), f"{back}?{urlencode({'state': state})}")
        except fetchers.HTTPFetchingError as error:
            raise ProviderAwayError(f"{self._place.key}: {words_of(error)}") from error
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            # seen: a message of OpenID 1 without all its parts ends in a KeyError of the library
            raise LoginError("The provider's answer makes no sense. Try again.") from error
        if response.status != SUCCESS or response.endpoint.server_url != kept["server"]:
            raise LoginError("The provider did not log you in. Try again.")
        # only what the provider has signed
        known = sreg.SRegResponse.fromSuccessResponse(response) or {}
        teams = (response.extensionResponse(_TEAMS, True) or {}).get("is_member", "")
        nickname = known.get("nickname")
        return Person.of(nickname, nickname, [team for team in teams.split(",") if team])


class Fetcher(fetchers.HTTPFetcher):  # type: ignore[misc]
    """How the library reaches the net: an identity's address is anybody's, though at the provider's."""

    def fetch(self, url: str, body: Any = None, headers: Any = None) -> Any:
        """Ask, within limits of time and size, and nobody but who was meant. Raises HTTPFetchingError."""
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        method = "POST" if body else "GET"
        place = url
        try:
            for _ in range(_REDIRECTIONS + 1):
                if urlsplit(place).scheme not in ("https", "http") or _origin(place) != _origin(url):
                    raise fetchers.HTTPFetchingError(why=f"{_origin(url)} leads elsewhere")
                answer = asked(method, place, content=body, headers={**form, **(headers or {})})
                if method != "GET" or not answer.has_redirect_location:
                    found = {key.lower(): value for key, value in answer.headers.items()}
                    return fetchers.HTTPResponse(place, answer.status_code, found, answer.content)
                place = urljoin(place, answer.headers["location"])
        except (httpx.HTTPError, httpx.InvalidURL, ProviderAwayError, ValueError) as error:
            raise fetchers.HTTPFetchingError(why=words_of(error)) from error
        raise fetchers.HTTPFetchingError(why=f"{_origin(url)} leads round and round")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Login by OpenID Connect: the authorization code flow with PKCE, state and nonce."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from functions.request.places import OidcPlace
from functions.request.provider import Kept, LoginError, Person, ProviderAwayError, Start, asked_json

#: Signatures that are taken: those by keys that only the provider has.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: Seconds by which the provider's clock may be wrong.
_LEEWAY = 60
#: What people read, and what stands with results for all to see: so neither name nor e-mail address.
_LOGIN_CLAIMS = ("preferred_username", "nickname")


class OidcProvider:
    """See `Provider`."""

    def __init__(self, place: OidcPlace) -> None:
        self._place = place
        self._kept = Kept()

    def start(self, back: str, state: str) -> Start:
        """See `Provider`."""
        nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        query = {
            "response_type": "code",
            "client_id": self._place.client_id,
            "redirect_uri": back,
            "scope": " ".join(self._place.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return Start(
            with_query(self._endpoint("authorization"), query), {"nonce": nonce, "verifier": verifier}
        )

    def finish(self, back: str, state: str, kept: Mapping[str, str], told: Mapping[str, str]) -> Person:
        """See `Provider`."""
        # RFC 9207: an answer that another provider gave
        if told.get("iss", self._place.issuer) != self._place.issuer:
            raise LoginError("The answer is another provider's. Try again.")
        tokens = asked_json(
            "POST",
            self._endpoint("token"),
            data={
                "grant_type": "authorization_code",
                "code": told.get("code", ""),
                "redirect_uri": back,
                "code_verifier": kept["verifier"],
            },
            auth=(self._place.client_id, self._place.secret()),
            headers={"Accept": "application/json"},
        )
        claims = self._claims(tokens, kept["nonce"])
        claims = {**self._userinfo(tokens, claims["sub"]), **claims}
        return self._person(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        login = next((claims[each] for each in _LOGIN_CLAIMS if claims.get(each)), "")
        return Person.of(claims.get(self._place.user_claim), login, claims.get(self._place.groups_claim, ()))

    def _claims(self, tokens: Any, nonce: str) -> dict[str, Any]:
        text = tokens.get("id_token") if isinstance(tokens, dict) else None
        if not isinstance(text, str):
            raise ProviderAwayError(f"{self._place.key}: the provider gave no id_token")
        options = {
            "iss": {"essential": True, "value": self._place.issuer},
            "aud": {"essential": True, "value": self._place.client_id},
        }
        params = {
            "nonce": nonce,
            "client_id": self._place.client_id,
            "access_token": tokens.get("access_token"),
        }
        try:
            token = self._decoded(text)
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(now=int(time.time()), leeway=_LEEWAY)
        except (JoseError, ValueError, TypeError) as error:
            raise LoginError("The provider's answer cannot be trusted. Try again.") from error
        return dict(token.claims)

    def _decoded(self, text: str) -> jwt.Token:
        try:
            return jwt.decode(text, self._keys(), algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            # the provider may have new keys
            return jwt.decode(text, self._keys(anew=True), algorithms=_ALGORITHMS)

    def _userinfo(self, tokens: Mapping[str, Any], subject: str) -> dict[str, Any]:
        url = self._metadata().get("userinfo_endpoint")
        if not url or not tokens.get("access_token"):
            return {}
        found = asked_json("GET", url, headers={"Authorization": f"Bearer {tokens['access_token']}"})
        return found if isinstance(found, dict) and found.get("sub") == subject else {}

    def _endpoint(self, name: str) -> str:
        url = self._metadata().get(f"{name}_endpoint")
        if not isinstance(url, str) or urlsplit(url).scheme not in ("https", "http"):
            raise ProviderAwayError(f"{self._place.key}: the provider names no {name} endpoint")
        return url

    def _metadata(self) -> dict[str, Any]:
        url = f"{self._place.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = self._asked(url)
        if not isinstance(found, dict) or found.get("issuer") != self._place.issuer:
            raise ProviderAwayError(f"{self._place.key}: {url} is not of the issuer {self._place.issuer}")
        return found

    def _keys(self, *, anew: bool = False) -> KeySet:
        try:
            return KeySet.import_key_set(self._asked(str(self._metadata().get("jwks_uri")), anew=anew))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ProviderAwayError(f"{self._place.key}: the provider's keys cannot be read") from error

    def _asked(self, url: str, *, anew: bool = False) -> Any:
        return self._kept.asked(url, lambda: asked_json("GET", url), anew=anew)


def with_query(url: str, query: Mapping[str, str]) -> str:
    """An address with more in its query."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may come in, and as whom our services go out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, IPvAnyNetwork, model_validator

from infra.settings.base import Label, Section, reject_twice


class Network(Section):
    """A network that may come in. ``prefix`` is IPv4 or IPv6, as 192.0.2.0/24."""

    name: Label
    prefix: IPvAnyNetwork


class AdminNetwork(Network):
    """A network from which people may reach ssh."""


class Operator(Section):
    """Somebody who may log in to every instance."""

    name: Label
    key: str = Field(
        pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*( [ -~]*)?$",
        description="public ssh key, as a line of authorized_keys",
    )


class AccessRule(Section):
    """One kind of call that an application credential is good for."""

    service: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="type of the service, as object-store")
    method: Literal["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"]
    path: str = Field(pattern=r"^/", description="as /v1/*/testyard-*/**")


_ANYTHING_IN_THE_STORE = tuple(
    AccessRule(service="object-store", method=method, path="/v1/**")
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE")
)


class Credential(Section):
    """An application credential of the user that deploys; without a rule it is good for nothing."""

    name: Label
    # Keystone tells of a role those that it implies, too: where they are missing here, the next plan
    # would make the credential anew
    roles: tuple[str, ...] = Field(
        default=("member", "reader"),
        min_length=1,
        description="the deployer's, or fewer, with those that they imply",
    )
    rules: tuple[AccessRule, ...] = Field(default=_ANYTHING_IN_THE_STORE, min_length=1)


class User(Section):
    """A user in the project, for software of others. It has no password until somebody sets one."""

    name: Label
    roles: tuple[str, ...] = Field(default=("reader",), min_length=1)


class Identity(Section):
    """As whom our services go out, and who else there is."""

    credentials: tuple[Credential, ...] = Field(
        default=(Credential(name="worker"), Credential(name="functions")),
        description="worker and functions must be among them",
    )
    users: tuple[User, ...] = Field(default=(), description="making them takes an admin of the domain")
    project: str = Field(default="", description="name of the project in which users have their roles")

    @model_validator(mode="after")
    def _check(self) -> Identity:
        names = [credential.name for credential in self.credentials]
        reject_twice("credentials: name", names)
        reject_twice("users: name", (user.name for user in self.users))
        if self.users and not self.project:
            raise ValueError("project: missing; write the name of the project that the users belong to")
        if missing := {"worker", "functions"} - set(names):
            raise ValueError(f"credentials: {', '.join(sorted(missing))} is missing; write one of that name")
        return self

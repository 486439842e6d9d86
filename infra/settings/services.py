# SPDX-License-Identifier: AGPL-3.0-or-later
"""What stands once in a stage: broker, database, functions, site, what is before them, the results."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from infra.settings.access import Network
from infra.settings.base import Architecture, Label, RegionName, Release, Section, reject_twice

#: Which functions there are; all but the webhook function also work in the background.
FunctionName = Literal["index", "status", "request", "webhook", "forge", "notify"]
#: The operator's files that functions read, by their settings' names.
FunctionFile = Literal["policy", "logins", "projects", "rules"]
#: A name of the network's, or nothing.
HOST = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.|$))*$"
#: Addresses are kept for so many of each (addresses.py).
MOST_NODES = 20


class Topology(Section):
    """What is tested; the architectures are the regions'."""

    releases: tuple[Release, ...] = Field(default=("bookworm", "trixie"), min_length=1)
    contexts: tuple[Literal["ubuntu", "huge", "ppa", "upstream", "urgent"], ...] = Field(
        default=("ubuntu", "huge", "ppa", "upstream", "urgent"), min_length=1
    )

    @model_validator(mode="after")
    def _check(self) -> Topology:
        reject_twice("releases", self.releases)
        reject_twice("contexts", self.contexts)
        return self


class Services(Section):
    """Where broker, database, functions and site stand."""

    region: RegionName | None = Field(default=None, description="none: the first one")
    architecture: Architecture = Field(default=Architecture.AMD64, description="of their instances")


class Code(Section):
    """The release that instances run; without one their images must have it in /opt/testyard."""

    url: str = Field(pattern=r"^https://\S+$", description="of a tar archive of the source tree")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of that archive")


class Broker(Section):
    """RabbitMQ, one instance or a cluster of three."""

    nodes: Literal[1, 3] = 1
    flavor: Label = "data"
    volume: int = Field(default=20, ge=5, le=4096, description="GiB, for each")
    host: str = Field(
        default="", pattern=HOST, max_length=253, description="its name for those outside the home region"
    )
    clients: tuple[Network, ...] = Field(
        default=(), description="networks outside that may connect, by floating addresses"
    )

    @model_validator(mode="after")
    def _check(self) -> Broker:
        reject_twice("clients: name", (network.name for network in self.clients))
        return self


class Database(Section):
    """PostgreSQL."""

    flavor: Label = "data"
    volume: int = Field(default=50, ge=5, le=16384, description="GiB")


class Functions(Section):
    """Instances on each of which all the functions run."""

    count: int = Field(default=1, ge=1, le=MOST_NODES)
    flavor: Label = "service"
    which: tuple[FunctionName, ...] = Field(default=("index", "status", "request", "webhook", "forge"))
    files: tuple[FunctionFile, ...] = Field(
        default=(), description="operator's files that are put on them with the secrets"
    )

    @model_validator(mode="after")
    def _check(self) -> Functions:
        reject_twice("which", self.which)
        if missing := {"index", "status"} - set(self.which):
            raise ValueError(f"which: {', '.join(sorted(missing))} is missing; no page shows anything then")
        return self


class Web(Section):
    """Instances of the site."""

    count: int = Field(default=1, ge=1, le=MOST_NODES)
    flavor: Label = "service"


class Balancer(Section):
    """The one address before site and functions."""

    kind: Literal["haproxy", "octavia"] = Field(default="haproxy", description="an instance, or the cloud's")
    flavor: Label = Field(default="service", description="of the instance")
    host: str = Field(default="", pattern=HOST, max_length=253, description="its name")
    public: bool = Field(default=False, description="a floating address, and open to everybody")
    tls: Literal["acme", "files", "none"] = Field(
        default="none", description="certificate by ACME, from the operator's files, or plain HTTP"
    )
    acme_email: str = Field(default="", pattern=r"^([^@\s]+@[^@\s]+)?$", description="whom ACME writes to")
    acme_url: str = Field(
        default="https://acme-v02.api.letsencrypt.org/directory",
        pattern=r"^https://",
        description="directory",
    )
    certificate_ref: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="octavia: address of the certificate in Barbican",
    )

    @model_validator(mode="after")
    def _check(self) -> Balancer:
        if self.tls != "none" and not self.host:
            raise ValueError("host: missing, and a certificate is for a name")
        if self.tls == "acme" and not (self.public and self.acme_email):
            raise ValueError("tls: acme needs public = true and an acme_email")
        if self.kind == "octavia" and self.tls == "acme":
            raise ValueError("tls: octavia renews no certificate; take files, or kind = haproxy")
        if self.kind == "octavia" and self.tls == "files" and not self.certificate_ref:
            raise ValueError("certificate_ref: missing; octavia reads certificates from Barbican alone")
        return self


class Results(Section):
    """Containers of the store; workers make what is missing for archives beside the releases'."""

    public: bool = Field(default=True, description="whether everybody may read and list results")
    archives: tuple[str, ...] = Field(
        default=(), description="OWNER-NAME of archives whose containers are made beforehand"
    )

    @model_validator(mode="after")
    def _check(self) -> Results:
        reject_twice("archives", self.archives)
        return self

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings of every part: one TOML file, each value overridable by environment.

The file is named by ``TESTYARD_CONFIG``. A value's environment variable is ``TESTYARD_`` plus
section and key, e.g. ``TESTYARD_BROKER__URL``. The environment wins. Secrets belong in one of the
two, never on a command line. docs/settings.md lists every key.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as EnvironmentError_

from testyard.admission import Launchpad, Rates, SourceArchive
from testyard.archives import Archives
from testyard.errors import RequestError, SettingsError
from testyard.hosts import LOCAL_KINDS, AnyHost, Host
from testyard.queue import QueueName, all_queues
from testyard.section import Section


class Broker(Section):
    """RabbitMQ. ``url`` is an AMQP URI: ``amqp[s]://user:password@host:port/vhost?heartbeat=60``."""

    url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/%2F")


class Store(Section):
    """OpenStack Swift. ``auth_version`` 1 (``user`` = ``account:user``) or 3 (Keystone)."""

    auth_version: Literal["1", "3"] = "3"
    auth_url: str = ""
    user: str = ""
    key: SecretStr = SecretStr("")
    application_credential: str = Field(
        default="", description="id of a Keystone application credential; key is its secret"
    )
    project: str = ""
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = ""
    public_url: str = Field(
        default="", description="account URL that readers use, without a slash at the end"
    )
    retries: int = Field(default=5, ge=0, description="attempts after the first, with 1, 2, 4, … s between")


class Database(Section):
    """The index: any SQLAlchemy URL (``sqlite:///…``, ``postgresql+psycopg://…``)."""

    url: SecretStr = SecretStr("sqlite:///testyard.db")


class Site(Section):
    """The web site."""

    url: str = Field(default="", description="address that people use, without a slash at the end")


class Topology(Section):
    """What exists: queues are declared for every combination."""

    releases: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ("ubuntu", "huge", "ppa", "upstream", "urgent")
    allowed: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="architectures of a release; one that is not named has all"
    )

    def allows(self, release: str, architecture: str) -> bool:
        """True if a release is tested on an architecture."""
        return architecture in self.allowed.get(release, (architecture,))

    def queues(self) -> tuple[QueueName, ...]:
        """Every request queue. Raises SettingsError if a name is no good."""
        try:
            return all_queues(self.contexts, self.releases, self.architectures)
        except RequestError as error:
            raise SettingsError(f"topology: {error.brief}") from error


class Timeouts(Section):
    """Limits in seconds: autopkgtest's own, and one for the whole run."""

    short: int = 300
    install: int = 3000
    test: int = 10000
    copy_files: int = 900
    build: int = 20000
    run: int = Field(default=86400, description="the whole run; no limit of autopkgtest's")


class Worker(Section):
    """One worker process."""

    name: str = Field(default_factory=socket.gethostname)
    slots: int = Field(default=1, ge=1, le=1000, description="runs at the same time")
    shares: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="runs of a context for each of another's, while both wait; 1 if not named",
    )
    testbed: Literal["unshare", "chroot", "qemu", "null"] = "unshare"
    hosts: tuple[AnyHost, ...] = Field(
        default=(), description="where tests run; without any, on this machine, in `testbed`, with `slots`"
    )
    testbed_user: str = Field(default="", description="account that testbeds run as when the worker is root")
    work_dir: Path = Path("/var/lib/testyard/work")
    tree_dir: Path = Path("/var/lib/testyard/trees")
    tree_max_age: int = Field(default=86400, description="seconds after which a root tree is made anew")
    lease: int = Field(default=60, ge=2, description="seconds after which a silent worker's claim is void")
    attempts: int = Field(default=3, ge=1, le=20, description="of a run that fails for a temporary reason")
    retry_pause: int = Field(
        default=60, ge=0, description="seconds before the second attempt; doubled before each further one"
    )
    host_failures: int = Field(
        default=5,
        ge=2,
        description="runs in a row that fail on a host, for no package's reason, until it is drained",
    )
    announce: tuple[str, ...] = Field(
        default=(), description="program, with arguments, that reads a line on stdin when a host is drained"
    )
    deaths: int = Field(default=5, ge=1, description="of workers that run a request, until it is given up")
    rules: Path | None = Field(default=None, description="file that says what failures mean")
    timeouts: Timeouts = Timeouts()
    archives: Archives = Archives()
    proposed_pocket: str = Field(
        default="proposed", description="pocket that triggers come from; empty where there is none"
    )
    package_lists: Path | None = Field(
        default=None, description="folder of big_packages, long_tests, never_run, vm_packages"
    )
    source_dir: Path | None = Field(
        default=None, description="folder of unpacked source packages tested from there"
    )
    foreign: dict[str, str] = Field(
        default_factory=dict, description="architectures tested as foreign ones in testbeds of another"
    )
    offline: tuple[str, ...] = Field(
        default=("riscv64",), description="architectures whose testbeds have no internet"
    )
    max_processes: int = Field(
        default=4096,
        ge=100,
        description="processes and threads of one run; not in virtual machines",
    )
    max_log_bytes: int = Field(default=200 * 1024 * 1024, description="the log is cut beyond this size")
    metrics_host: str = Field(default="127.0.0.1", description="address that figures are served on")
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="port of the figures for Prometheus; 0: none are served"
    )
    max_artifacts_bytes: int = Field(
        default=1024 * 1024 * 1024, description="artifacts are cut beyond this size"
    )

    @field_validator("hosts")
    @classmethod
    def _names_differ(cls, hosts: tuple[Host, ...]) -> tuple[Host, ...]:
        names = [host.name for host in hosts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two hosts have the name {twice[0]}")
        return hosts

    def all_hosts(self) -> tuple[Host, ...]:
        """The hosts; the one that `testbed` and `slots` make if none is named."""
        return self.hosts or (LOCAL_KINDS[self.testbed](name="local", slots=self.slots),)


class Index(Section):
    """The index function."""

    sweep_interval: int = Field(default=300, ge=1, description="seconds between two sweeps over the store")


class Intake(Section):
    """The doors by which requests come in: API, forms, hooks."""

    url: str = Field(
        default="", description="address of the request function for people; empty: that of the site"
    )
    hooks_url: str = Field(default="", description="address of the webhook function; empty: that of the site")
    database: SecretStr = Field(
        default=SecretStr(""),
        description="where tokens, sessions and the audit log are; any SQLAlchemy URL; empty: database.url",
    )
    policy: Path | None = Field(default=None, description="file that says who may do what")
    logins: Path | None = Field(default=None, description="file that names the places where people log in")
    projects: Path | None = Field(default=None, description="file of the projects whose hooks are taken")
    trusted_proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1"), description="who may say for whom they ask (X-Forwarded-For)"
    )
    inside: tuple[str, ...] = Field(
        default=(), description="hosts and networks that may be asked for strangers, though they are internal"
    )
    archives: tuple[SourceArchive, ...] = Field(
        default=(), description="where it is looked up what is published; none: it is not looked up"
    )
    archives_max_age: int = Field(default=300, ge=1, description="seconds after which they are asked again")
    archives_cache: Path | None = Field(
        default=None, description="folder for their indexes; none: each process keeps its own"
    )
    tidy_interval: int = Field(
        default=0, ge=0, description="seconds between two looks for what waits in vain; 0: nobody looks"
    )
    rates: Rates = Rates()
    launchpad: Launchpad = Launchpad()
    get_submits: Literal["token", "never"] = Field(
        default="token",
        description="whose GET of request.cgi sends a request: a token's, or nobody's; others confirm it",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(f"{proxy} is no address and no network") from None
        return proxies


class Notify(Section):
    """The notify function."""

    rules: Path | None = Field(default=None, description="file that says who is told of what")


class Settings(BaseSettings):
    """All sections, validated and frozen."""

    model_config = SettingsConfigDict(
        env_prefix="TESTYARD_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    broker: Broker = Broker()
    store: Store = Store()
    database: Database = Database()
    site: Site = Site()
    topology: Topology = Topology()
    worker: Worker = Field(default_factory=Worker)
    index: Index = Index()
    intake: Intake = Intake()
    notify: Notify = Notify()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file."""
        config = os.environ.get("TESTYARD_CONFIG")
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if config:
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=config))
        return tuple(sources)


def load_settings() -> Settings:
    """Read the settings.

    Raises SettingsError naming the key, or the file that ``TESTYARD_CONFIG`` names and that is
    missing or no TOML.
    """
    config = os.environ.get("TESTYARD_CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError(
            f"TESTYARD_CONFIG: no file {config}",
            resolution="Name an existing settings file, or unset the variable.",
        )
    try:
        return Settings()
    except ValidationError as error:
        lines = [setting_problem(found, Settings) for found in error.errors()]
        raise SettingsError("The settings are wrong.", details="\n".join(lines)) from error
    except EnvironmentError_ as error:
        raise SettingsError("The environment's settings are wrong.", details=str(error)) from error
    except (ValueError, OSError) as error:
        raise SettingsError(f"{config}: not a readable TOML file", details=str(error)) from error


#: pydantic's kinds of findings, in words.
_WORDS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text",
    "tuple_type": 'must be a list, such as ["a", "b"]',
    "dict_type": "must be a table of keys and values",
    "model_type": "must be a table of keys and values",
    "path_type": "must be a path",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "string_pattern_mismatch": "must be of the form {pattern}",
    "union_tag_invalid": "testbed must be one of {expected_tags}",
    "union_tag_not_found": "testbed is missing",
    "value_error": "{error}",
}


def setting_problem(error: ErrorDetails, model: type[BaseModel], prefix: str = "") -> str:
    """One of pydantic's findings about ``model`` as ``section.key: problem``, without the value."""
    place = [str(part) for part in error["loc"]]
    name = ".".join([*filter(None, [prefix]), *place])
    if error["type"] == "extra_forbidden":
        known = ", ".join(sorted(_fields(model, place[:-1])))
        return f"{name}: no such setting; known: {known}" if known else f"{name}: no such setting"
    words = _WORDS.get(error["type"])
    context = error.get("ctx") or {}
    problem = words.format(**context) if words else error["msg"].removeprefix("Value error, ")
    return f"{name}: {problem}"


def _fields(model: type[BaseModel], place: list[str]) -> tuple[str, ...]:
    for name in place:
        field = model.model_fields.get(name)
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ()
        model = kind
    return tuple(model.model_fields)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""One local instance: a folder with its secrets, ports, data and logs.

state.json     secrets, ports and choices: made once, kept
settings.toml  what every part reads (`testyard.settings`), made from state.json at each start
rabbitmq/ swift/ work/ trees/ index.db   what the parts keep
run/ logs/     sockets and process ids; what the parts print
"""

from __future__ import annotations

import os
import secrets
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from testyard.errors import SettingsError, words_of
from testyard.local.files import make_private_folder, write_private
from testyard.local.machine import machine_architecture, machine_release, proposed_pocket
from testyard.local.ports import LOOPBACK, PORT_NAMES, check_ports_differ, check_ports_free, free_ports
from testyard.local.toml import Sections, Value, render_toml

SECRET_NAMES = ("broker_password", "store_key")
VHOST = "testyard"
BROKER_USER = "worker"
#: The account that tests run as when the worker is root; scripts/local makes it.
TESTBED_USER = "testyard-testbed"
STORE_USER = "testyard:testyard"
STORE_ACCOUNT = "AUTH_testyard"
# linux's sun_path is 108 bytes with the final NUL, and supervisord adds ".<pid>" while it makes one
SOCKET_PATH_LIMIT = 108 - 1 - 8
_FOLDERS = ("run", "logs", "rabbitmq", "swift", "work", "trees")


def default_state_folder() -> Path:
    """``$XDG_STATE_HOME/testyard``, by default ``~/.local/state/testyard``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # the XDG rules say that a relative path is to be ignored
    return (Path(base) if base.startswith("/") else Path.home() / ".local/state") / "testyard"


class _Recorded(BaseModel):
    """state.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ports: dict[str, int] = {}
    secrets: dict[str, str] = {}
    release: str = ""
    arch: str = ""
    settings: dict[str, dict[str, str | int | float | bool | list[str]]] = {}
    run_dir: str = ""


@dataclass(frozen=True)
class LocalState:
    """One instance. ``settings`` are the caller's, laid over ours section by section."""

    path: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str]
    release: str
    arch: str
    settings: Sections
    run_dir: Path

    @classmethod
    def load_or_create(
        cls,
        path: Path | None = None,
        *,
        ports: Mapping[str, int] | None = None,
        release: str | None = None,
        arch: str | None = None,
        settings: Sections | None = None,
    ) -> LocalState:
        """The instance in ``path``, made when there is none; what is named here is changed in it.

        Raises SettingsError when the folder cannot be used or two parts would share a port.
        """
        folder = _resolve(path)
        old = _read(folder)
        # before anything of it is changed: /etc with mode 0700 would take the machine down
        if old is None and _foreign(folder):
            raise SettingsError(
                f"The folder {folder} holds something else.",
                resolution="Name an empty or a new folder with --state.",
            )
        make_private_folder(folder)
        old = old or _Recorded()
        state = cls(
            path=folder,
            ports=_complete_ports({**old.ports, **(ports or {})}),
            secrets={name: old.secrets.get(name) or _secret() for name in SECRET_NAMES},
            release=release or old.release or machine_release(),
            arch=arch or old.arch or machine_architecture(),
            settings=_merge(old.settings, settings or {}),
            run_dir=_run_dir(folder, old.run_dir),
        )
        # before it is remembered: a port that another has must not end an instance that runs well
        check_ports_free({name: port for name, port in (ports or {}).items() if old.ports.get(name) != port})
        state._save()
        return state

    @classmethod
    def load(cls, path: Path | None = None) -> LocalState | None:
        """The instance in ``path``, None when there is none."""
        folder = _resolve(path)
        return cls.load_or_create(folder) if (folder / "state.json").is_file() else None

    @property
    def settings_file(self) -> Path:
        """What ``TESTYARD_CONFIG`` names in every part."""
        return self.path / "settings.toml"

    @property
    def log_dir(self) -> Path:
        """Where each part's output goes: ``<part>.log``."""
        return self.path / "logs"

    @property
    def broker_url(self) -> str:
        """AMQP URL with the password."""
        password = self.secrets["broker_password"]
        return f"amqp://{BROKER_USER}:{password}@{LOOPBACK}:{self.ports['broker']}/{VHOST}"

    def url(self, part: str) -> str:
        """``http://127.0.0.1:PORT`` of a part that speaks HTTP."""
        return f"http://{LOOPBACK}:{self.ports[part]}"

    def sections(self) -> Sections:
        """The settings of every part: ours, then the caller's over them."""
        ours: dict[str, dict[str, Value]] = {
            "broker": {"url": self.broker_url},
            "store": {
                "auth_version": "1",
                "auth_url": f"{self.url('store')}/auth/v1.0",
                "user": STORE_USER,
                "key": self.secrets["store_key"],
                "public_url": f"{self.url('store')}/v1/{STORE_ACCOUNT}",
            },
            "database": {"url": f"sqlite:///{self.path}/index.db"},
            "site": {"url": self.url("web")},
            "intake": {"url": self.url("web")},  # by which pages know that there is a form for requests
            "topology": {"releases": (self.release,), "architectures": (self.arch,)},
            # a killed worker's request is another's after 10 s; the network is this machine's own
            "worker": {
                "work_dir": self.path / "work",
                "tree_dir": self.path / "trees",
                "lease": 10,
                "retry_pause": 5,
                "metrics_port": self.ports["worker"],
                "testbed_user": TESTBED_USER,
                "proposed_pocket": proposed_pocket(),
            },
            "index": {"sweep_interval": 60},
        }
        return _merge(ours, self.settings)

    def render_settings(self) -> str:
        """settings.toml."""
        return "# made by `testyard local up`, at each start anew\n\n" + render_toml(self.sections())

    def write_settings(self) -> bool:
        """Write settings.toml; True when it changed."""
        return write_private(self.settings_file, self.render_settings())

    def changed_settings(self) -> tuple[str, ...]:
        """The keys that are not as in settings.toml; none if there is no such file."""
        try:
            old = tomllib.loads(self.settings_file.read_text())
        except (OSError, ValueError):
            return ()
        before, now = _flat(old), _flat(tomllib.loads(self.render_settings()))
        return tuple(sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)))

    def _save(self) -> None:
        for name in _FOLDERS:
            make_private_folder(self.path / name)
        recorded = _Recorded(
            ports=dict(self.ports),
            secrets=dict(self.secrets),
            release=self.release,
            arch=self.arch,
            settings=_recordable(self.settings),
            run_dir=str(self.run_dir),
        )
        write_private(self.path / "state.json", recorded.model_dump_json(indent=1) + "\n")


def _resolve(path: Path | None) -> Path:
    folder = (path or default_state_folder()).expanduser().absolute()
    # these end up in the configuration of supervisord, Swift and RabbitMQ, which cannot quote them
    if any(character in str(folder) for character in "\n\r\"'\\;%"):
        raise SettingsError(
            f"The folder's name {str(folder)!r} has a quote, a semicolon, a backslash, a percent sign "
            "or a line break.",
            resolution="Name another folder with --state.",
        )
    return folder


def _read(folder: Path) -> _Recorded | None:
    path = folder / "state.json"
    try:
        return _Recorded.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path} cannot be read.",
            details=words_of(error),
            resolution="Mend it, or remove the folder: results and secrets in it are lost then.",
        ) from error


def _foreign(folder: Path) -> bool:
    """True if it holds what no instance made; ``.state.json.…`` is one that was being written."""
    if not folder.is_dir():
        return False
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise SettingsError(
            f"The folder {folder} cannot be read.",
            details=words_of(error),
            resolution="Name another folder with --state.",
        ) from error
    return any(
        name not in _FOLDERS and not name.startswith((".state.json.", ".settings.toml.")) for name in names
    )


def _complete_ports(known: Mapping[str, int]) -> dict[str, int]:
    missing = [name for name in PORT_NAMES if name not in known]
    found = dict(zip(missing, free_ports(len(missing), avoid=known.values()), strict=True))
    ports = {name: known.get(name) or found[name] for name in PORT_NAMES}
    check_ports_differ(ports)
    return ports


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


def _secret() -> str:
    return secrets.token_urlsafe(24)


def _merge(below: Sections, above: Sections) -> dict[str, dict[str, Value]]:
    names = dict.fromkeys([*below, *above])
    return {name: {**below.get(name, {}), **above.get(name, {})} for name in names}


def _recordable(sections: Sections) -> dict[str, dict[str, str | int | float | bool | list[str]]]:
    return {
        section: {
            key: value
            if isinstance(value, str | int | float)
            else str(value)
            if isinstance(value, Path)
            else list(value)
            for key, value in values.items()
        }
        for section, values in sections.items()
    }


def _run_dir(folder: Path, recorded: str) -> Path:
    """``run/`` in the folder, or a short folder elsewhere when a socket's path would not fit."""
    own = folder / "run"
    if len(os.fsencode(own / "supervisor.sock")) <= SOCKET_PATH_LIMIT:
        return own
    if recorded:
        short = Path(recorded)
        if short.is_dir() and not short.is_symlink() and short.stat().st_uid == os.geteuid():
            return short
    # 0700, and a name that nobody can foresee; gone after a reboot, then another one is made
    return Path(tempfile.mkdtemp(prefix="testyard-", dir=os.environ.get("XDG_RUNTIME_DIR") or None))

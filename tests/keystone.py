# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Keystone, and a real Swift that asks it who is calling:

    with openstack(tmp_path) as cloud:   # .keystone .swift
        cloud.keystone.add_user("alice", project="readers")

About 6 s to start: share it within a module.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.keystone_swift import SERVICE_PROJECT, SERVICE_USER
from tests.programs import Program
from testyard.local.ports import free_ports
from testyard.local.swift_secrets import save_secrets

REGION = "one"


class Keystone:
    """Its admin's view: one region, the domain Default.

    A folder that was used before wants the port and the password that it had.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        password: str = "",
        region: str = REGION,
        tied: signal.Signals | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}/v3"
        self._region = region
        self._password = password or secrets.token_hex(16)
        self.program = _program("keystone", folder, (str(port), region), self._password, tied)
        self._client = httpx.Client(trust_env=False, timeout=30)
        self._ids: dict[tuple[str, str], str] = {}

    def start(self) -> None:
        """Start it and log in as its admin."""
        self.program.start(self.url)
        login = self.login("admin", self._password, project="admin")
        self._client.headers["X-Auth-Token"] = login

    def kill(self) -> None:
        """End it."""
        self.program.kill()

    def login(self, user: str, password: str, *, project: str) -> str:
        """A token for a person."""
        domain = {"domain": {"id": "default"}}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "password": password, **domain}},
        }
        scope = {"project": {"name": project, **domain}}
        answer = httpx.post(
            f"{self.url}/auth/tokens", json={"auth": {"identity": identity, "scope": scope}}, trust_env=False
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["X-Subject-Token"]

    def add_project(self, name: str) -> str:
        """Make it if it is not there; returns its id."""
        return self._made("project", name, {"domain_id": "default"})

    def add_user(self, name: str, *, project: str, role: str = "member") -> str:
        """A user with a role in a project; returns the password."""
        password = secrets.token_hex(16)
        user = self._made("user", name, {"domain_id": "default", "password": password})
        where = f"projects/{self.add_project(project)}/users/{user}/roles"
        roles = self._call("GET", f"roles?name={role}")["roles"]
        self._call("PUT", f"{where}/{roles[0]['id']}")
        return password

    def set_enabled(self, user: str, enabled: bool) -> None:
        """Disabling a user revokes all its tokens."""
        self._call("PATCH", f"users/{self._ids['user', user]}", {"user": {"enabled": enabled}})

    def add_endpoint(self, url: str) -> None:
        """Where the object store is."""
        service = self._made("service", "swift", {"type": "object-store"})
        for interface in ("public", "internal"):
            endpoint = {"service_id": service, "interface": interface, "region_id": self._region, "url": url}
            self._call("POST", "endpoints", {"endpoint": endpoint})

    def add_application_credential(self, user: str, password: str, *, project: str) -> tuple[str, str]:
        """Id and secret of a new one."""
        path = f"{self.url}/users/{self._ids['user', user]}/application_credentials"
        token = {"X-Auth-Token": self.login(user, password, project=project)}
        body = {"application_credential": {"name": secrets.token_hex(8)}}
        answer = httpx.post(path, json=body, headers=token, trust_env=False)
        assert answer.status_code == 201, answer.text
        made = answer.json()["application_credential"]
        return made["id"], made["secret"]

    def _made(self, kind: str, name: str, fields: dict[str, Any]) -> str:
        if (kind, name) not in self._ids:
            answer = self._call("POST", f"{kind}s", {kind: {"name": name, **fields}})
            self._ids[kind, name] = answer[kind]["id"]
        return self._ids[kind, name]

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._client.request(method, f"{self.url}/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}


class Swift:
    """A Swift that asks Keystone who is calling; the service user and its password must be there."""

    def __init__(
        self,
        folder: Path,
        keystone_url: str,
        password: str,
        *,
        ports: Sequence[int] = (),
        tied: signal.Signals | None = None,
    ) -> None:
        save_secrets(folder, user="unused:unused", key="unused")
        port, *back_ends = ports or free_ports(4)
        self.url = f"http://127.0.0.1:{port}"
        arguments = (str(port), ",".join(map(str, back_ends)), keystone_url)
        self.program = _program("swift", folder, arguments, password, tied)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.program.start(f"{self.url}/healthcheck")

    def kill(self) -> None:
        """End it."""
        self.program.kill()


class Cloud:
    """Both, and the project ``testyard`` whose containers the store's user may make."""

    def __init__(self, folder: Path) -> None:
        self.keystone = Keystone(folder / "keystone")
        self._folder = folder / "swift"
        self.swift: Swift | None = None

    def start(self) -> None:
        """Start both, with their accounts."""
        self.keystone.start()
        password = self.keystone.add_user(SERVICE_USER, project=SERVICE_PROJECT, role="admin")
        self.swift = Swift(self._folder, self.keystone.url, password)
        self.keystone.add_endpoint(f"{self.swift.url}/v1/AUTH_%(project_id)s")
        self.swift.start()

    def stop(self) -> None:
        """End both."""
        for server in (self.swift, self.keystone):
            if server is not None:
                server.kill()

    @property
    def public_url(self) -> str:
        """The address of testyard's account."""
        assert self.swift is not None, "Swift does not run"
        return f"{self.swift.url}/v1/AUTH_{self.keystone.add_project('testyard')}"


@contextmanager
def openstack(folder: Path) -> Iterator[Cloud]:
    """A Keystone and a Swift of their own."""
    cloud = Cloud(folder)
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.stop()


def _program(
    name: str, folder: Path, arguments: tuple[str, ...], password: str, tied: signal.Signals | None
) -> Program:
    module = {"keystone": "tests.keystone_server", "swift": "tests.keystone_swift"}[name]
    environment = {**os.environ, "KEYSTONE_PASSWORD": password, "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-m", module, str(folder), *arguments]
    return Program(name, argv, folder / f"{name}.log", environment=environment, tied=tied)

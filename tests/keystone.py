# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Keystone, and a real Swift that asks it who is calling:

    with openstack(tmp_path) as cloud:   # .keystone .swift
        cloud.keystone.add_user("alice", project="readers")

About 6 s to start: share it within a module.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.keystone_swift import SERVICE_PROJECT, SERVICE_USER
from testyard.local.ports import free_ports
from testyard.local.swift_secrets import save_secrets

REGION = "one"
START_SECONDS = 60.0


class Process:
    """A server that is a program of the tests; ended by its own pid."""

    def __init__(self, folder: Path, module: str, arguments: tuple[str, ...], password: str) -> None:
        self._argv = [sys.executable, "-m", module, *arguments]
        self._password = password
        self._log = folder / f"{module.rpartition('.')[2]}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, url: str) -> None:
        """Start it and wait until ``url`` answers."""
        path = os.pathsep.join(sys.path)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                env={
                    **os.environ,
                    "KEYSTONE_PASSWORD": self._password,
                    "PYTHONPATH": path,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(url, trust_env=False)
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    raise AssertionError(self._log.read_text()[-3000:]) from None
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """End it; nothing when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class Keystone:
    """Its admin's view: one region, the domain Default."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}/v3"
        self._password = secrets.token_hex(16)
        self._process = Process(folder, "tests.keystone_server", (str(folder), str(port)), self._password)
        self._client = httpx.Client(trust_env=False, timeout=30)
        self._ids: dict[tuple[str, str], str] = {}

    def start(self) -> None:
        """Start it and log in as its admin."""
        self._process.start(self.url)
        login = self.login("admin", self._password, project="admin")
        self._client.headers["X-Auth-Token"] = login

    def kill(self) -> None:
        """End it."""
        self._process.kill()

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
            endpoint = {"service_id": service, "interface": interface, "region_id": REGION, "url": url}
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


class Cloud:
    """Both, and the project ``testyard`` whose containers the store's user may make."""

    def __init__(self, folder: Path) -> None:
        self.keystone = Keystone(folder / "keystone")
        self._root = folder / "swift"
        port, *back_ends = free_ports(4)
        self.swift_url = f"http://127.0.0.1:{port}"
        save_secrets(self._root, user="unused:unused", key="unused")
        self._ports = (str(port), ",".join(map(str, back_ends)))
        self._swift: Process | None = None

    def start(self) -> None:
        """Start both, with their accounts."""
        self.keystone.start()
        password = self.keystone.add_user(SERVICE_USER, project=SERVICE_PROJECT, role="admin")
        self.keystone.add_endpoint(f"{self.swift_url}/v1/AUTH_%(project_id)s")
        arguments = (str(self._root), *self._ports, self.keystone.url)
        self._swift = Process(self._root, "tests.keystone_swift", arguments, password)
        self._swift.start(f"{self.swift_url}/healthcheck")

    def stop(self) -> None:
        """End both."""
        for process in (self._swift, self.keystone):
            if process is not None:
                process.kill()

    @property
    def public_url(self) -> str:
        """The address of testyard's account."""
        return f"{self.swift_url}/v1/AUTH_{self.keystone.add_project('testyard')}"


@contextmanager
def openstack(folder: Path) -> Iterator[Cloud]:
    """A Keystone and a Swift of their own."""
    cloud = Cloud(folder)
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.stop()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Functions that are served as operators do, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.hooks import SECRET, Hook
from testyard.local.ports import free_ports


def projects_file(folder: Path, text: str = "") -> Path:
    """A file of projects with our secret: all of all forges, or what ``text`` says."""
    names = ("github", "gitlab", "forgejo", "gitea")
    path = folder / "projects.toml"
    path.write_text(
        text or "".join(f'[projects."{name}/octo-org/*"]\nsecret = "{SECRET}"\n' for name in names)
    )
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Served:
    """A function, as it is served."""

    url: str
    pid: int
    started: float  # seconds from the start of its process to its first answer
    log: Path

    def post(self, hook: Hook, path: str = "", **headers: str) -> httpx.Response:
        """Deliver."""
        given = {**hook.headers, **headers}
        address = f"{self.url}{path or f'/hooks/{hook.forge}'}"
        return httpx.post(address, content=hook.body, headers=given, trust_env=False, timeout=20)


@contextmanager
def served_webhook(folder: Path, broker: str, projects: Path) -> Iterator[Served]:
    """A process of its own; ended afterwards."""
    environment = {"TESTYARD_BROKER__URL": broker, "TESTYARD_INTAKE__PROJECTS": str(projects)}
    with served(folder, "functions.webhook.app", environment) as found:
        yield found


@contextmanager
def served(folder: Path, app: str, environment: Mapping[str, str]) -> Iterator[Served]:
    """Any function as a process of its own, with these settings; ended afterwards."""
    port = free_ports(1)[0]
    log = folder / f"{app}.log"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
    command = [sys.executable, "-P", "-m", "uvicorn", f"{app}:create_app", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--loop", "uvloop"]
    begin = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--http", "httptools"], env={**clean, **environment}, stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        yield Served(url, process.pid, _first_answer(url, process, log) - begin, log)
    finally:
        process.terminate()
        process.wait(20)


def _first_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> float:
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                client.get(f"{url}/health", timeout=10)
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.005)
            else:
                return time.monotonic()

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real providers as processes, on loopback, ended by their own id."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testyard.local.ports import free_ports

HERE = Path(__file__).parent
PEOPLE: Mapping[str, Any] = {
    "jane": {
        "preferred_username": "jane-p",
        "name": "Jane <b>",
        "groups": ["testers", "devel/core"],
        "orgs": [{"login": "testers"}],
        "teams": [{"slug": "core", "organization": {"login": "devel"}}],
    },
    "joe": {"preferred_username": "joe", "name": "Joe", "groups": [], "orgs": [], "teams": []},
    "a/b": {"preferred_username": "slash", "name": "x", "groups": [], "orgs": [], "teams": []},
}


@contextmanager
def oidc_provider(folder: Path, *redirects: str, github: bool = False) -> Iterator[str]:
    """npm's oidc-provider; gives its issuer. Client ``id``, its secret ``s3cret``."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("npm's oidc-provider is not installed: scripts/setup test")
    [port] = free_ports(1)
    issuer = f"http://127.0.0.1:{port}"
    client = {"id": "id", "secret": "s3cret", "redirects": redirects}
    config = {"port": port, "issuer": issuer, "github": github, "people": PEOPLE, "clients": [client]}
    path = folder / f"provider-{port}.json"
    path.write_text(json.dumps(config))
    with _process([node, str(HERE / "provider.mjs"), str(path)]):
        yield issuer


@contextmanager
def openid2_provider() -> Iterator[str]:
    """python3-openid's server side; gives the provider's identifier."""
    [port] = free_ports(1)
    with _process([sys.executable, "-W", "ignore", "-m", "tests.logins.openid2_server", str(port)]):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def _process(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=HERE.parents[1], text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line == "ready\n":
                break
        else:
            raise AssertionError(f"{command}: ended with {process.wait()}")
        yield
    finally:
        process.terminate()
        process.wait(20)

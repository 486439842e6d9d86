# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a forge's delivery to the result, through all parts of an instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from tests.forges import TOKEN, ForgeServer, forge_server
from tests.hooks import HEAD, PROJECT, SECRET, github_pull
from tests.system import System, running_system


@pytest.fixture(scope="module")
def forge() -> Iterator[ForgeServer]:
    with forge_server() as found:
        yield found


@pytest.fixture(scope="module")
def system(forge: ForgeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("hooks")
    projects = folder / "projects.toml"
    projects.write_text(
        f'[projects."github/{PROJECT}"]\nsecret = "{SECRET}"\ntoken = "{TOKEN}"\nurl = "{forge.url}"\n'
    )
    with running_system(folder / "state", {"testbed": "null"}, intake={"projects": str(projects)}) as made:
        yield made


def test_a_pull_request_becomes_a_result_and_a_status(system: System, forge: ForgeServer) -> None:
    release, arch = system.state.release, system.state.arch
    query = f"release={release}&arch={arch}&package=ty-pass&test-git=https%3A%2F%2Fgithub.com%2Fx%2Fy"
    hook = github_pull("opened")
    address = f"{system.state.url('web')}/hooks/github?{query}"
    answer = httpx.post(address, content=hook.body, headers=hook.headers, trust_env=False, timeout=20)
    assert (answer.status_code, answer.json()["status"]) == (202, "taken")
    context = f"{release}/{arch}"
    system.wait(lambda: forge.states(context)[:1] == ["pending"], seconds=30, what="the status")
    system.wait(lambda: forge.states(context)[-1] != "pending", seconds=120, what="the end")
    assert {said.commit for said in forge.statuses} == {HEAD}
    wrong = replace(hook, secret="a wrong one")
    answer = httpx.post(address, content=wrong.body, headers=wrong.headers, trust_env=False, timeout=20)
    assert answer.status_code == 403

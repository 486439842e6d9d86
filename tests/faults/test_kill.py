# SPDX-License-Identifier: AGPL-3.0-or-later
"""SIGKILL of worker, broker and store at ten random moments each: nothing lost, nothing doubled."""

from __future__ import annotations

import collections
import random
import time
from pathlib import Path

import pytest

from tests.system import System, running_system
from testyard.local.health import check_part
from testyard.result import read_result_tar


@pytest.mark.parametrize(
    ("requests", "kills_each"),
    [
        pytest.param(30, 10, marks=pytest.mark.timeout(420)),
        pytest.param(200, 70, marks=[pytest.mark.long, pytest.mark.timeout(2400)]),
    ],
)
def test_requests_survive_kills(tmp_path: Path, requests: int, kills_each: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with running_system(tmp_path / "state", {"testbed": "null", "slots": 2, "deaths": 20}) as system:
        wanted = {system.publish("ty-slow", "TY_SECONDS=1") for _ in range(requests)}
        _kill_at_random(system, chance, kills_each)
        system.wait(
            lambda: _answers(system, "store", "web") and len(system.stored_results()) >= requests,
            seconds=200 + 5 * requests,
            what=f"{requests} results (seed {seed})",
        )
        _settled(system)
        stored = _stored_ids(system)
        assert set(stored) == wanted, f"seed {seed}"
        assert [one for one, count in collections.Counter(stored).items() if count > 1] == [], f"seed {seed}"
        _all_on_the_site(system, wanted)


def _kill_at_random(system: System, chance: random.Random, kills_each: int) -> None:
    victims = ["worker", "broker", "store"] * kills_each
    chance.shuffle(victims)
    for victim in victims:
        time.sleep(chance.uniform(0.1, 2.5))
        deadline = time.monotonic() + 60
        while not system.kill(victim):
            assert time.monotonic() < deadline, f"{victim} was not started again\n{system.tails()}"
            time.sleep(0.1)


def _answers(system: System, *parts: str) -> bool:
    """True unless one of them was killed last and is only being started again."""
    return not any(check_part(system.state, part, started=0) for part in parts)


def _stored_ids(system: System) -> list[str]:
    ids = []
    for name in system.stored_results():
        answer = system.store(f"autopkgtest-{system.state.release}/{name}")
        if answer.status_code == 200:
            result = read_result_tar(answer.content)
            assert result.exit_code == 0, f"{name}: a kill became a result: {result.summary}"
            ids.append(result.request_id or "")
    return ids


def _settled(system: System) -> None:
    """Wait until no request waits or runs: what would double has had its chance."""

    def idle() -> bool:
        now = system.get("/running.json").json()
        return not now["requests"] and not any(queue["messages"] for queue in now["queues"])

    system.wait(idle, seconds=90, what="no request waits or runs")


def _all_on_the_site(system: System, wanted: set[str]) -> None:
    def missing() -> list[str]:
        return [one for one in wanted if len(_runs(system, one)) != 1]

    system.wait(lambda: not missing(), seconds=90, what="every result once in the index")


def _runs(system: System, request_id: str) -> list[object]:
    answer = system.get(f"/runs/{request_id}.json")
    runs: list[object] = answer.json().get("runs", []) if answer.status_code == 200 else []
    return runs

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Full queues, drained by one worker with a test of no length: nothing lost, nothing twice, steady memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import drain
from tests.bench.ground import Ground
from tests.servers import Rabbit, Swift


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param(300, marks=pytest.mark.timeout(240)),
        pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
    ],
)
def test_full_queues(broker_node: Rabbit, store_node: Swift, tmp_path: Path, requests: int) -> None:
    place = Ground(broker_node, store_node, tmp_path)
    try:
        found = drain.drained(place, requests)
    finally:
        place.close()
    print(found)
    assert (found["lost"], found["told twice"], found["results beyond one each"]) == (0, 0, 0)
    # connections and buffers of 16 slots come first; what is kept of each run would be seen after that
    assert found["memory at 100 %, MB"] < found["memory at 10 %, MB"] + 40
    assert found["memory at 100 %, MB"] < found["memory at 50 %, MB"] + 15

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which host a run is given: free slots, drained hosts, another host for another attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testyard.hosts import NullHost
from testyard.queue import QueueName
from worker.hosts import Host, HostPool, Seat
from worker.testbed.null import NullTestbed

AMD = QueueName("ubuntu", "noble", "amd64")
HUGE = QueueName("huge", "noble", "amd64")
ARM = QueueName("ubuntu", "noble", "arm64")
ARMHF = QueueName("ubuntu", "noble", "armhf")


def host(name: str, slots: int = 1, *architectures: str, vm: bool = False) -> Host:
    settings = NullHost(name=name, slots=slots, architectures=architectures)
    return Host(settings, NullTestbed(None, vm=vm))


def pool_of(*hosts: Host, failures: int = 3) -> tuple[HostPool, list[tuple[str, str]]]:
    drained: list[tuple[str, str]] = []
    return HostPool(hosts, failures=failures, on_drain=lambda *told: drained.append(told)), drained


def taken(pool: HostPool, queue: QueueName) -> Seat:
    seat = pool.take(queue)
    assert seat
    return seat


def test_a_run_goes_where_most_is_free_and_never_where_nothing_is() -> None:
    pool, _ = pool_of(host("small", 1), host("large", 3), host("arm", 5, "arm64"))
    assert (pool.room(AMD), pool.room(ARM)) == (4, 9)
    seats = [taken(pool, AMD) for _ in range(4)]
    assert sorted(seat.host.name for seat in seats) == ["large", "large", "large", "small"]
    assert seats[0].host.name == "large"
    assert (pool.take(AMD), pool.room(AMD), pool.room(ARM)) == (None, 0, 5)
    pool.release(seats[0])
    assert pool.room(AMD) == 1


def test_queues_that_compete_are_together() -> None:
    amd, arm = host("amd", 1, "amd64"), host("arm", 1, "arm64", "armhf")
    pool, _ = pool_of(amd, arm)
    assert set(pool.groups([AMD, ARM, HUGE, ARMHF])) == {(AMD, HUGE), (ARM, ARMHF)}
    pool.replace([amd, arm, host("both", 1, "amd64", "arm64")])
    (together,) = pool.groups([AMD, ARM, HUGE, ARMHF])
    assert set(together) == {AMD, HUGE, ARM, ARMHF}
    pool.replace([amd])
    assert pool.groups([ARM, AMD]) == ((AMD,),)


def test_a_drained_host_gets_no_run_and_ends_those_that_it_has() -> None:
    pool, _ = pool_of(host("one", 2), host("two", 1))
    seat = taken(pool, AMD)
    assert seat.host.name == "one"
    pool.drain({"one": "a new kernel"})
    assert pool.room(AMD) == 1
    assert {state.host.name: (state.busy, state.drained) for state in pool.states()} == {
        "one": (1, "a new kernel"),
        "two": (0, ""),
    }
    assert pool.move(seat, AMD, lambda _: True)  # its next attempt is elsewhere
    assert seat.host.name == "two"
    pool.drain({})
    assert pool.room(AMD) == 2


def test_another_attempt_moves_only_where_a_slot_is_free() -> None:
    pool, _ = pool_of(host("one", 1), host("two", 1))
    first, second = taken(pool, AMD), taken(pool, AMD)
    where = first.host.name
    assert not pool.move(first, AMD, lambda other: other.name != where)
    assert first.host.name == where
    pool.release(second)
    assert pool.move(first, AMD, lambda other: other.name != where)
    assert first.host.name != where
    assert pool.room(AMD) == 1
    assert not pool.could(AMD, lambda other: other.vm)


def test_a_host_that_fails_is_drained_and_one_bad_package_is_no_bad_host() -> None:
    pool, drained = pool_of(one := host("one", 1), failures=3)
    for _ in range(10):
        pool.failed(one, "gzip")
    assert drained == []
    pool.well(one)
    for package in ("gzip", "gzip", "sed"):
        pool.failed(one, package)
    assert [name for name, _ in drained] == ["one"]
    assert "3 runs in a row failed" in drained[0][1]
    assert pool.room(AMD) == 0
    pool.failed(one, "dash")  # what ran when it was drained
    assert len(drained) == 1
    pool.drain({})  # an operator has mended it: it begins anew
    for package in ("gzip", "sed"):
        pool.failed(one, package)
    assert (len(drained), pool.room(AMD)) == (1, 1)


def test_a_host_that_a_reload_took_away_and_another_brought_back() -> None:
    pool, drained = pool_of(gone := host("gone", 1), stays := host("stays", 2))
    seats = [taken(pool, AMD) for _ in range(3)]
    (seat,) = [seat for seat in seats if seat.host is gone]
    pool.replace([stays])
    pool.failed(gone, "gzip")
    pool.well(gone)
    assert pool.room(AMD) == 0
    pool.replace([stays, gone])
    assert pool.room(AMD) == 0  # its run goes on
    pool.release(seat)
    assert pool.room(AMD) == 1
    assert drained == []


STEPS = ["take", "release", "move", "drain", "resume", "take away", "bring back"]


@given(st.lists(st.sampled_from(STEPS), max_size=60))
@pytest.mark.filterwarnings("error")
def test_slots_are_never_given_twice(steps: list[str]) -> None:
    pool, _ = pool_of(one := host("one", 2), two := host("two", 1))
    seats: list[Seat] = []
    for step in steps:
        if step == "take" and (seat := pool.take(AMD)):
            seats.append(seat)
        elif step == "release" and seats:
            pool.release(seats.pop(0))
        elif step == "move" and seats:
            pool.move(seats[0], AMD, lambda other: other.name == "two")
        elif step in ("drain", "resume"):
            pool.drain({"one": "because"} if step == "drain" else {})
        elif step in ("take away", "bring back"):
            pool.replace([one] if step == "take away" else [one, two])
        states = {state.host.name: state.busy for state in pool.states()}
        for name, slots in (("one", 2), ("two", 1)):
            busy = sum(seat.host.name == name for seat in seats)
            assert busy <= slots
            assert states.get(name, busy) == busy

# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the stand-in plans: defaults, what is not known yet, what makes a new resource."""

from __future__ import annotations

from typing import Any

import pytest

from tests.openstack.provider.facts import Facts, conflict, with_facts
from tests.openstack.provider.planning import digest, plan, replacements
from tests.openstack.provider.schema import Attribute, Block, Nested
from tests.openstack.provider.values import UNKNOWN, complete, merge

NETWORK = Block(
    {
        "uuid": Attribute("string", optional=True, computed=True, replaces=True),
        "mac": Attribute("string", computed=True),
        "access": Attribute("bool", optional=True, default=False),
    }
)
HINTS = Block({"group": Attribute("string", optional=True, replaces=True)})
INSTANCE = Block(
    {
        "id": Attribute("string", computed=True),
        "name": Attribute("string", required=True),
        "user_data": Attribute("string", optional=True, replaces=True, hashed=True),
        "state": Attribute("string", optional=True, default="active"),
        "tags": Attribute(["set", "string"], optional=True),
    },
    {
        "network": Nested("list", NETWORK, computed=True),
        "hints": Nested("set", HINTS),
        "vendor": Nested("set", Block({"quick": Attribute("bool", optional=True)}), replaces=True),
        "timeouts": Nested("single", Block({"create": Attribute("string", optional=True)})),
    },
)


def planned(prior: dict[str, Any] | None, config: dict[str, Any]) -> dict[str, Any]:
    """What terraform would propose, and what comes of it."""
    whole = complete(INSTANCE, config)
    proposed = {**whole, "id": prior["id"] if prior else None}
    if prior:
        kept = [
            {**old, **{k: v for k, v in new.items() if v is not None}}
            for old, new in zip(prior["network"], whole["network"], strict=False)
        ]
        proposed["network"] = kept + whole["network"][len(kept) :]
    return plan(INSTANCE, prior, proposed, whole)


def made(config: dict[str, Any]) -> dict[str, Any]:
    """The state after making what ``config`` asks for."""
    first = planned(None, config)
    networks = first["network"] if first["network"] is not UNKNOWN else [{"uuid": "auto", "access": False}]
    seen = [
        {**one, "uuid": one["uuid"] if one["uuid"] is not UNKNOWN else "u", "mac": "m"} for one in networks
    ]
    return merge(INSTANCE, first, {"id": "i1", "network": seen})


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Any]:
    state = made(before)
    return list(replacements(INSTANCE, state, planned(state, after)))


def test_of_a_new_one_nothing_is_known_that_the_cloud_tells() -> None:
    new = planned(None, {"name": "a", "network": [{"uuid": "n1"}]})
    assert new["id"] is UNKNOWN
    assert new["state"] == "active"
    assert new["network"] == [{"uuid": "n1", "mac": UNKNOWN, "access": False}]
    assert new["hints"] == []


def test_blocks_that_the_cloud_fills_in_are_unknown_and_stay() -> None:
    assert planned(None, {"name": "a"})["network"] is UNKNOWN
    state = made({"name": "a"})
    assert planned(state, {"name": "a"}) == state


CONFIG = {
    "name": "a",
    "user_data": "#cloud-config\n",
    "tags": ["x", "b"],
    "network": [{"uuid": "n1"}, {"uuid": "n2", "access": True}],
    "hints": [{"group": "g1"}],
}


def test_what_stays_the_same_is_no_change() -> None:
    state = made(CONFIG)
    assert planned(state, CONFIG) == state
    assert changes(CONFIG, {**CONFIG, "tags": ["b", "x"]}) == []


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        ({"name": "b"}, []),
        ({"state": "shutoff"}, []),
        ({"user_data": "#cloud-config\n{}\n"}, [("user_data",)]),
        ({"user_data": None}, [("user_data",)]),
        ({"network": [{"uuid": "n1"}, {"uuid": "n3", "access": True}]}, [("network", 1, "uuid")]),
        ({"network": [{"uuid": "n1", "access": True}, {"uuid": "n2", "access": True}]}, []),
        ({"network": [{"uuid": "n1"}]}, [("network",)]),
        ({"hints": [{"group": "g2"}]}, [("hints",)]),
        ({"hints": []}, [("hints",)]),
        ({"vendor": [{"quick": True}]}, [("vendor",)]),
        ({"timeouts": {"create": "5m"}}, []),
    ],
)
def test_what_makes_a_new_one(changed: dict[str, Any], paths: list[Any]) -> None:
    assert changes(CONFIG, {**CONFIG, **changed}) == paths


def test_the_state_keeps_a_digest_of_user_data() -> None:
    assert made(CONFIG)["user_data"] == digest("#cloud-config\n") != "#cloud-config\n"


def test_user_data_that_is_not_known_yet_makes_a_new_one() -> None:
    state = made(CONFIG)
    later = planned(state, {**CONFIG, "user_data": UNKNOWN})
    assert list(replacements(INSTANCE, state, later)) == [("user_data",)]


def test_nothing_in_two_ways_is_no_difference() -> None:
    block = Block({"a": Attribute("string", optional=True), "c": Attribute("string", computed=True)})
    assert merge(block, {"a": None, "c": UNKNOWN}, {"a": "", "c": ""}) == {"a": None, "c": ""}
    assert merge(block, {"a": ""}, {"a": None, "c": None}) == {"a": "", "c": None}
    assert merge(block, {"a": "x"}, {"a": ""}) == {"a": "", "c": None}


def test_what_has_a_default_is_as_the_cloud_says() -> None:
    block = Block({"d": Attribute("bool", optional=True, default=False)})
    assert merge(block, {"d": None}, {"d": False}) == {"d": False}


def test_facts_name_what_is_there() -> None:
    block = Block({"a": Attribute("string")}, {"b": Nested("set", Block({"c": Attribute("string")}))})
    told = with_facts(block, Facts(replaces="a b b.c", defaults={"b.c": "d"}, computed_blocks="b"))
    assert told.attributes["a"].replaces
    assert (told.blocks["b"].computed, told.blocks["b"].replaces) == (True, True)
    assert told.blocks["b"].block.attributes["c"].default == "d"
    for wrong in (
        Facts(replaces="x"),
        Facts(sensitive="b.x"),
        Facts(hashed="x.c"),
        Facts(computed_blocks="a"),
    ):
        with pytest.raises(ValueError, match="facts: no"):
            with_facts(block, wrong)


def test_one_of_a_group() -> None:
    facts = Facts(conflicts=("a b", "c d"))
    assert conflict(facts, {"a": 1, "c": 2}) is None
    assert conflict(facts, {"c": 1, "d": 2}) == "c and d: only one of them may be given"

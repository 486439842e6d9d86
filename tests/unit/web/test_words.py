# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import pytest

from testyard.duration import age_text
from testyard.index import RequestState
from testyard.look.words import iso
from testyard.run import Outcome
from web import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0 s"),
        (0.04, "0 s"),
        (0.06, "0.1 s"),
        (7.35, "7.3 s"),
        (7, "7 s"),
        (9.97, "10 s"),
        (59.7, "1 min 00 s"),
        (192, "3 min 12 s"),
        (3720, "1 h 02 min"),
        (-3, "0 s"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (2, "just now"),
        (40, "40 s ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (90000, "1 d ago"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age_text(1000.0, 1000.0 + seconds) == text


def test_every_outcome_and_state_has_a_sign() -> None:
    assert all(words.sign(word) != "·" for word in (*Outcome, *RequestState, "PASS", "FAIL", "SKIP", "FLAKY"))


def test_iso() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"

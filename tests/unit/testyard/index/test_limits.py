# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much the index takes of what others wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, event, update

from testyard.errors import ResultError
from testyard.event import Event, EventKind
from testyard.index import RequestState, RunRow, limits, read
from testyard.index.schema import request
from testyard.index.write import apply_event, record_run
from testyard.result import Result
from testyard.run import Phase, PhaseTime, RunId
from testyard.store import RunPath

ID = "6f2f3c8d-0a4f-4a57-9d55-1a015e3c6f1d"
PATH = RunPath("noble", "amd64", "gzip", RunId("20260105_120000_abcde@"))
LONG = "x" * (limits.LONGEST_TEXT + 1)
CUT = "x" * (limits.LONGEST_TEXT - 1) + "…"
WHOLE = "x" * limits.LONGEST_TEXT


def entered(index: Connection, **values: object) -> RunRow:
    result = replace(Result(exit_code=0, source="gzip"), **values)  # type: ignore[arg-type]
    assert record_run(index, "autopkgtest-noble", PATH, result)
    (row,) = read.find_runs(index, str(PATH))
    return row


def test_a_text_is_cut_beyond_its_length() -> None:
    assert (limits.text(WHOLE), limits.text(LONG), limits.text("a\0b")) == (WHOLE, CUT, "a\ufffdb")
    assert len(CUT) == limits.LONGEST_TEXT == 500


def test_a_list_keeps_whole_items() -> None:
    items = [f"source{number}/1" for number in range(5000)]
    kept = limits.joined(items, " ").split(" ")
    assert kept == items[: len(kept)]
    assert limits.LONGEST_LIST - 20 < len(" ".join(kept)) <= limits.LONGEST_LIST
    assert limits.joined(items[:9], " ").split(" ") == items[:9]
    assert limits.joined(["x" * (limits.LONGEST_LIST + 1)], " ") == ""
    exact = ["x" * (limits.LONGEST_LIST - 2), "y", "z"]
    assert limits.joined(exact, " ") == " ".join(exact[:2])


def test_no_more_tests_than_these(index: Connection) -> None:
    summary = "".join(f"t{number}  PASS\n" for number in range(limits.MOST_SUBTESTS + 1))
    tests = entered(index, summary=summary).subtests
    assert (len(tests), tests[-1].name) == (1000, "t999")


def test_names_and_reasons_of_tests(index: Connection) -> None:
    row = entered(index, summary=f"{LONG} FAIL {LONG}\n{WHOLE} FAIL {WHOLE}\n")
    assert [(test.name, test.reason) for test in row.subtests] == [(CUT, CUT), (WHOLE, WHOLE)]


def test_texts_of_a_run(index: Connection) -> None:
    row = entered(index, version=LONG, requester=LONG, request_id=LONG)
    assert (row.version, row.requester, row.request_id) == (CUT, CUT, None)


def test_triggers_and_environment(index: Connection) -> None:
    triggers = " ".join(f"source{number}/1" for number in range(5000))
    environment = [f"ADT_TEST_TRIGGERS={triggers}", *(f"V{number}=1" for number in range(9000))]
    row = entered(index, testinfo={"custom_environment": environment})
    assert row.triggers[0] == "source0/1"
    assert limits.LONGEST_LIST - 20 < len(" ".join(row.triggers)) <= limits.LONGEST_LIST
    assert limits.LONGEST_LIST - 20 < len(row.env) <= limits.LONGEST_LIST


def test_facts(index: Connection) -> None:
    testinfo = {"virt_server": LONG, "cpu_model": "a\0b", "nproc": 2, "kernel_version": {"a": [LONG]}}
    worker = {"whole": WHOLE, LONG: True, "list": [1, "two"], **{f"f{number}": 1 for number in range(60)}}
    facts = entered(index, testinfo=testinfo, worker=worker).facts
    assert len(facts) == limits.MOST_FACTS == 50
    assert (facts["virt_server"], facts["cpu_model"], facts["nproc"]) == (CUT, "a\ufffdb", 2)
    assert facts["kernel_version"] == ('{"a": ["' + LONG)[:499] + "…"
    assert (facts["whole"], facts[CUT], facts["list"]) == (WHOLE, True, [1, "two"])


def test_phases_of_a_run(index: Connection) -> None:
    phases = tuple(PhaseTime(Phase.TEST, float(number), 1.0, LONG) for number in range(3000))
    row = entered(index, phases=phases)
    assert len(row.phases) == limits.MOST_PHASES == 2020
    assert row.phases[-1] == PhaseTime(Phase.TEST, 2019.0, 1.0, CUT)


@pytest.mark.parametrize("odd", ["a\0b", "\0", "…" * 600])
def test_what_no_column_takes_does_not_keep_a_run_out(index: Connection, odd: str) -> None:
    info = {"custom_environment": [f"ADT_TEST_TRIGGERS={odd}/1", f"A={odd}"], "nproc": odd}
    row = entered(
        index,
        testinfo=info,
        requester=odd,
        version=odd,
        request_id=odd,
        phases=(PhaseTime(Phase.TEST, 1.0, 1.0, odd),),
        worker={odd: {odd: odd}},
    )
    assert row.request_id is None


def told(index: Connection, *events: Event) -> None:
    for each in events:
        apply_event(index, each)


def step(kind: EventKind, time: float = 10.0, **data: object) -> Event:
    return Event(kind, ID, "debci-noble-amd64", "gzip", time=time, data=data)


def test_texts_of_a_request(index: Connection) -> None:
    told(index, step(EventKind.TAKEN, worker=LONG), step(EventKind.RETURNED, 11, reason=LONG))
    found = read.find_request(index, ID)
    assert found is not None
    assert (found.worker, found.reason) == (CUT, CUT)
    told(index, step(EventKind.REJECTED, 12, reason="a\0b"))
    (found,) = read.requests_in(index, [RequestState.REJECTED])
    assert found.reason == "a\ufffdb"


def test_the_phases_of_a_request_are_the_newest(index: Connection) -> None:
    told(index, step(EventKind.TAKEN))
    full = [PhaseTime(Phase.TEST, 11.0, float(n)).to_json() for n in range(limits.MOST_PHASES)]
    index.execute(update(request).values(phases=[{**each, "test": f"t{n}"} for n, each in enumerate(full)]))
    newest = PhaseTime(Phase.TEST, 12.0, None, LONG)
    for phase in (newest, replace(newest, seconds=1.0)):
        told(index, step(EventKind.PHASE, 12.0, **phase.to_json()))
    found = read.find_request(index, ID)
    assert found is not None
    assert len(found.phases) == limits.MOST_PHASES
    assert (found.phases[0].test, found.phases[-1]) == ("t1", PhaseTime(Phase.TEST, 12.0, 1.0, CUT))


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": LONG},
        {"request_id": "a\0b"},
        {"queue": LONG},
        {"queue": "a\0b"},
        {"package": LONG},
        {"package": "a\0b"},
        {"data": {"parameters": {"env": ["A=" + "x" * limits.LONGEST_PARAMETERS]}}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_event_of_no_real_request_can_never_work(index: Connection, changes: dict[str, object]) -> None:
    with pytest.raises(ResultError, match=next(iter(changes)).replace("data", "parameters")):
        apply_event(index, replace(step(EventKind.ACCEPTED), **changes))  # type: ignore[arg-type]


def test_the_largest_parameters_of_a_request_fit(index: Connection) -> None:
    parameters = {"x": "\N{SNOWMAN}" * 80_000}
    told(index, step(EventKind.ACCEPTED, parameters=parameters))
    found = read.find_request(index, ID)
    assert found is not None
    assert found.parameters == parameters


def test_lists_do_not_read_large_columns(index: Connection) -> None:
    entered(index, worker={"worker": "w1"}, phases=(PhaseTime(Phase.TEST, 1.0, 1.0, "a"),), request_id="r")
    told(index, step(EventKind.TAKEN), step(EventKind.LOG, 11.0, text="one\n", start=0, end=4))
    statements: list[str] = []
    event.listen(index, "before_cursor_execute", lambda *call: statements.append(call[2]))
    (run,) = read.latest_runs(index)
    assert read.package_runs(index, "gzip") == read.package_matrix(index, "gzip") == (run,)
    assert (run.phases, run.facts, run.subtests) == ((), {}, ())
    (waiting,) = read.requests_in(index, [RequestState.RUNNING])
    assert waiting.log_tail == ""
    assert read.missing_runs(index, "autopkgtest-noble", [str(PATH)]) == ()
    assert len(read.open_requests(index, before=99)) == 1
    assert len(statements) == 6
    assert not [text for text in statements for name in ("facts", "log_tail") if name in text]
    assert not [text for text in statements if "run.phases" in text]
    (whole,) = read.requests_in(index, [RequestState.RUNNING], with_logs=True)
    assert (whole.log_tail, replace(whole, log_tail="")) == ("one\n", waiting)

# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import time

from tests.unit.web.samples import LOG, UBUNTU_LOG
from web.log import EXCERPT, MAX_LINE, Mark, Stage, plain_text, read_log

HEAD = "autopkgtest [10:00:00]: "


def test_a_debian_log_is_cut_by_stage_and_test() -> None:
    sections = read_log(LOG).sections
    assert [(part.title, part.stage, part.test) for part in sections] == [
        ("start", Stage.START, None),
        ("apt-source sed", Stage.SOURCE, None),
        ("prepare sub", Stage.PREPARE, "sub"),
        ("test sub", Stage.TEST, "sub"),
        ("prepare upstream-tests", Stage.PREPARE, "upstream-tests"),
        ("test upstream-tests", Stage.TEST, "upstream-tests"),
        ("summary", Stage.SUMMARY, None),
    ]
    assert [part.seconds for part in sections] == [4, 4, 5, 0, 5, 74, None]


def test_every_line_is_in_one_section_in_order() -> None:
    for text in (LOG, UBUNTU_LOG, "no log at all\n", "\n\n", "x"):
        numbers = [line.number for part in read_log(text).sections for line in part.lines]
        assert numbers == list(range(1, len(text.removesuffix("\n").split("\n")) + 1))


def test_the_failing_section_is_found_and_excerpted() -> None:
    log = read_log(LOG)
    assert log.first_failure is not None
    assert log.first_failure.title == "test upstream-tests"
    assert log.excerpt[-1].text == "upstream-tests       FAIL non-zero exit status 2"
    assert log.excerpt[-1].mark is Mark.BAD
    assert [part.failed for part in log.sections].count(True) == 1


def test_an_excerpt_is_the_end_of_a_long_section() -> None:
    body = "".join(f"line {number}\n" for number in range(500))
    text = f"{HEAD}test t: [-----------------------\n{body}{HEAD}test t: -----------------------]\nt FAIL x\n"
    excerpt = read_log(text).excerpt
    assert len(excerpt) == EXCERPT
    assert excerpt[-1].number == 503


def test_an_ubuntu_log_is_cut_over_midnight_with_its_prefixes_kept() -> None:
    log = read_log(UBUNTU_LOG)
    assert [(part.title, part.seconds) for part in log.sections] == [
        ("start", 9),
        ("test bed setup", 3),
        ("apt-source hello", 2),
        ("build", 7),
        ("prepare greet", 4),
        ("test greet", 2),
        ("summary", None),
    ]
    assert log.sections[5].lines[1].text == " 25s Hello, world!"


def test_what_a_test_prints_is_no_result_and_no_section() -> None:
    assert read_log(UBUNTU_LOG).first_failure is None
    nested = (
        f"{HEAD}test t: [-----------------------\n"
        f"{HEAD}test inner: [-----------------------\n"
        f"{HEAD}ERROR: erroneous package: inner\n"
        "t FAIL inner\n"
        f"{HEAD}@@@@@@@@@@@@@@@@@@@@ summary\n"
        f"{HEAD}test t: -----------------------]\n"
        "t                    PASS\n"
    )
    log = read_log(nested)
    assert [part.title for part in log.sections] == ["test t"]
    assert log.first_failure is None


def test_a_test_that_never_ended_shows_the_testbed_failure() -> None:
    text = f"{HEAD}test t: [-----------------------\nworking\n{HEAD}ERROR: testbed failure: unexpected eof\n"
    failure = read_log(text).first_failure
    assert failure is not None
    assert failure.title == "test t"


def test_errors_of_package_build_and_testbed_are_failures() -> None:
    glued = f"{HEAD}@@@@@@@@@@@@@@@@@@@@ unbuilt-tree pk/\nbadpkg: extract failed{HEAD}ERROR: x\n"
    build = f"{HEAD}build needed for binaries\nmake: error\nblame: pk/\n{HEAD}ERROR: erroneous package: y\n"
    start = f"{HEAD}version 5.28\n{HEAD}ERROR: testbed failure: unexpected eof from the testbed\n"
    titles = [part.title for text in (glued, build, start) if (part := read_log(text).first_failure)]
    assert titles == ["unbuilt-tree pk/", "build", "start"]


def test_colours_progress_and_control_characters() -> None:
    assert plain_text("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end\x1b(B") == "red end"
    assert plain_text("10%\r50%\r100%\r\nnext") == "100%\nnext"
    assert plain_text("bell\x07 nul\x00 tab\t turned\u202e") == "bell\u2407 nul\u2400 tab\t turned\ufffd"


def test_the_times_at_the_end_hide_no_failure() -> None:
    times = "".join(f"testyard [10:00:09]: phase test t{number}: 0.1 s\n" for number in range(EXCERPT))
    text = f"{HEAD}@@@@@@@@@@@@@@@@@@@@ apt-source x\nbadpkg: y\ntestyard [10:00:08]: the disk is full\n"
    log = read_log(text + times)
    assert [(part.title, part.failed) for part in log.sections] == [
        ("apt-source x", True),
        ("where time went", False),
    ]
    assert [(line.text, line.mark) for line in log.excerpt[1:]] == [
        ("badpkg: y", Mark.BAD),
        ("testyard [10:00:08]: the disk is full", Mark.OWN),
    ]


def test_a_huge_line_is_cut_quickly() -> None:
    started = time.monotonic()
    (line,) = read_log("\x1b[0m" * 10 + "A" * 20_000_000).sections[0].lines
    assert len(line.text) < MAX_LINE + 100
    assert line.text.endswith("the raw log has all of it)")
    assert time.monotonic() - started < 2


def test_a_name_of_a_test_cannot_fill_the_page() -> None:
    (section,) = read_log(f"{HEAD}test {'x' * 100_000}: preparing testbed\n").sections
    assert len(section.title) < 300


def test_many_lines_are_read_quickly() -> None:
    text = LOG * 2000
    started = time.monotonic()
    read_log(text)
    assert time.monotonic() - started < 5, "100,000 lines take about half a second"

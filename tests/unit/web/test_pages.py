# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each page and its twin, from the outside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.web.samples import (
    CAUSE,
    DONE,
    FAILED_RUN,
    NO_SOURCE_RUN,
    NOTE,
    PASSED_RUN,
    PRIVATE,
    QUEUED,
    REJECTED,
    RUNNING,
    STORE,
    Browser,
    event,
    settings,
)
from testyard.event import EventKind
from testyard.index import open_index
from testyard.index.write import apply_event
from web.app import create_app

RUN_PAGE = "/packages/sed/bookworm/amd64/20260105_120000_0a1b2@"
RUN_KEYS = {
    "release", "architecture", "source", "run_id", "container", "path", "version", "triggers", "env",
    "requester", "request_id", "exit_code", "outcome", "explanation", "duration", "completed", "worker",
    "phases", "tests", "urls",
}  # fmt: skip
REQUEST_KEYS = {
    "request_id", "queue", "context", "release", "architecture", "package", "state", "accepted", "taken",
    "updated", "worker", "attempt", "reason", "parameters", "phases", "log_tail", "log_end", "url", "run",
}  # fmt: skip
QUEUE_KEYS = {"queue", "context", "release", "architecture", "messages", "consumers", "updated"}


def test_home_shows_what_runs_waits_and_came_out(site: Browser) -> None:
    page = site.get("/").text
    assert f"/requests/{RUNNING}" in page
    assert "test upstream-tests" in page
    assert "no worker" in page
    assert RUN_PAGE in page
    assert "secret-thing" not in page


def test_home_twin(site: Browser) -> None:
    twin = site.get("/index.json").json()
    assert set(twin) == {"running", "queued", "queues", "latest"}
    assert [item["request_id"] for item in twin["running"]] == [RUNNING, PRIVATE]
    assert [item["request_id"] for item in twin["queued"]] == [QUEUED]
    assert all(set(item) == RUN_KEYS for item in twin["latest"])
    assert all(set(item) == REQUEST_KEYS for item in twin["running"] + twin["queued"])
    assert all(set(item) == QUEUE_KEYS for item in twin["queues"])
    assert "testyard-dead" not in {item["queue"] for item in twin["queues"]}


@pytest.mark.parametrize("path", ["/packages/hello", "/packages/h/hello"])
def test_package_page_has_matrix_and_runs(site: Browser, path: str) -> None:
    page = site.get(path)
    assert page.status_code == 200
    assert "bookworm" in page.text
    assert "riscv64" in page.text
    twin = site.get(f"{path}.json").json()
    assert set(twin) == {"source", "matrix", "runs", "requests"}
    assert len(twin["matrix"]) == 3
    assert len(twin["runs"]) == 4
    newest = max(run["run_id"] for run in twin["runs"] if run["architecture"] == "amd64")
    assert newest in {run["run_id"] for run in twin["matrix"]}


def test_package_names_with_plus_and_lib_prefix(site: Browser) -> None:
    assert site.get("/packages/g/g++-defaults").status_code == 200
    assert site.get("/packages/libp/libpng1.6").status_code == 200
    assert site.get("/packages/l/libpng1.6").status_code == 404


def test_unknown_package_is_a_helpful_404(site: Browser) -> None:
    page = site.get("/packages/nosuch")
    assert page.status_code == 404
    assert "No results for <b>nosuch</b> yet" in page.text
    twin = site.get("/packages/nosuch.json")
    assert twin.status_code == 404
    assert twin.headers["content-type"] == "application/problem+json"
    assert twin.json()["title"] == "Not Found"


def test_package_without_results_shows_what_is_under_way(site: Browser) -> None:
    page = site.get("/packages/coreutils")
    assert page.status_code == 404
    assert f"/requests/{RUNNING}" in page.text
    assert [item["state"] for item in site.get("/packages/coreutils.json").json()["requests"]] == ["running"]


@pytest.mark.parametrize("path", ["/packages/sed/bookworm/amd64", "/packages/s/sed/bookworm/amd64"])
def test_history(site: Browser, path: str) -> None:
    assert RUN_PAGE in site.get(path).text
    assert [run["path"] for run in site.get(f"{path}.json").json()["runs"]] == [str(FAILED_RUN)]
    assert site.get(path.replace("amd64", "s390x")).status_code == 404


@pytest.mark.parametrize("path", [RUN_PAGE, RUN_PAGE.replace("/sed", "/s/sed")])
def test_run_page(site: Browser, path: str) -> None:
    response = site.get(path)
    page = response.text
    assert response.status_code == 200
    assert "sed 4.9-1 failed on bookworm amd64: 1 of 2 tests failed (upstream-tests)." in page
    for file in ("log.gz", "artifacts.tar.gz", "result.tar"):
        assert f'href="{STORE}/autopkgtest-bookworm/{FAILED_RUN}/{file}"' in page
    assert 'href="#failure"' in page
    assert re.search(r'<details class="section bad" id="failure" open>', page)
    assert page.count(" open>") == 1, "only the failing section is open"
    assert 'id="L31"' in page
    assert "\x1b" not in page
    assert response.headers["cache-control"] == "public, max-age=3600"


def test_text_of_strangers_is_escaped(site: Browser) -> None:
    page = site.get(RUN_PAGE).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_run_that_tested_nothing_tells_why(site: Browser) -> None:
    page = site.get(f"/packages/jqq/bookworm/amd64/{NO_SOURCE_RUN.run_id}").text
    assert f"jqq failed on bookworm amd64: {CAUSE}." in page
    assert page.count(CAUSE) == 1
    assert page.count(NOTE) == 1
    assert "erroneous" not in page
    assert "unknown" not in page
    assert "no version" in site.get("/packages/jqq").text


def test_each_fact_has_a_name_of_its_own(site: Browser) -> None:
    names = re.findall(r"<dt>(.*?)</dt>", site.get(RUN_PAGE).text)
    assert len(names) == len(set(names))
    assert {"Worker", "Testbed", "Test server", "Kernel"} <= set(names)


def test_runs_with_other_archives_are_not_the_state_of_a_release(site: Browser) -> None:
    twin = site.get("/packages/gzip.json").json()
    assert [run["version"] for run in twin["runs"]] == ["1.13-1~ppa", "1.12-1"]
    assert [run["version"] for run in twin["matrix"]] == ["1.12-1"]
    page = site.get("/packages/gzip").text
    assert page.count("with team-ppa") == 1
    assert "team-ppa, beside that of bookworm" in site.get(twin["runs"][0]["urls"]["page"][25:]).text
    alone = site.get("/packages/jq")
    assert alone.status_code == 200
    assert "with the packages of a release alone yet" in alone.text
    assert "/packages/jq/bookworm/amd64/2026" in alone.text


def test_run_twin(site: Browser) -> None:
    run = site.get(f"{RUN_PAGE}.json").json()
    assert set(run) == RUN_KEYS
    assert run["completed"] == "2026-01-05T12:00:00Z"
    assert run["urls"]["page"] == f"https://testyard.example{RUN_PAGE}"
    assert run["tests"][1] == {
        "name": "upstream-tests", "outcome": "FAIL", "reason": "non-zero exit status 2", "seconds": 73.0,
    }  # fmt: skip
    assert set(run["phases"][0]) == {"phase", "test", "started", "seconds"}
    assert run["worker"]["worker"] == "worker-1"


def test_a_missing_log_leaves_the_page(site: Browser) -> None:
    response = site.get("/packages/gzip/bookworm/amd64/20260105_101500_ab12c@")
    assert response.status_code == 200
    assert "The store holds no log of this run." in response.text
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("reference", [DONE, DONE.upper(), FAILED_RUN.run_id, FAILED_RUN, f"{FAILED_RUN}/"])
def test_a_run_is_found_by_each_of_its_names(site: Browser, reference: object) -> None:
    response = site.get(f"/runs/{reference}")
    assert response.status_code == 303
    assert response.headers["location"] == RUN_PAGE
    twin = site.get(f"/runs/{str(reference).rstrip('/')}.json").json()
    assert [run["path"] for run in twin["runs"]] == [str(FAILED_RUN)]
    assert len(twin["runs"][0]["tests"]) == 2


@pytest.mark.parametrize(
    "reference", ["nosuch", "20260105_111111_fffff@", "a%00b", "x" * 500, PASSED_RUN.parent]
)
def test_no_run_of_a_name_is_404(site: Browser, reference: str) -> None:
    assert site.get(f"/runs/{reference}").status_code == 404
    assert site.get(f"/runs/{reference}.json").json()["status"] == 404


def test_running_request(site: Browser) -> None:
    page = site.get(f"/requests/{RUNNING}").text
    assert f'data-live="/requests/{RUNNING}/log"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "PASS: testsuite/appquit" in page
    twin = site.get(f"/requests/{RUNNING}.json").json()
    assert set(twin) == REQUEST_KEYS
    assert twin["phases"][-1]["seconds"] is None
    assert twin["url"] == f"https://testyard.example/requests/{RUNNING}"


def test_rejected_request_tells_why(site: Browser) -> None:
    page = site.get(f"/requests/{REJECTED}").text
    assert "is not source/version" in page
    assert "data-twin" not in page


def test_done_request_leads_to_its_run(site: Browser) -> None:
    response = site.get(f"/requests/{DONE}")
    assert (response.status_code, response.headers["location"]) == (303, RUN_PAGE)
    assert site.get(f"/requests/{DONE}.json").json()["run"] == str(FAILED_RUN)


def test_request_shows_no_credentials(site: Browser) -> None:
    for path in (
        f"/requests/{QUEUED}",
        f"/requests/{QUEUED}.json",
        "/running.json",
        "/index.json",
        "/running",
    ):
        text = site.get(path).text
        assert "hunter2" not in text
        assert "s3cr3t" not in text
    assert "***@team/ppa" in site.get(f"/requests/{QUEUED}").text


def test_private_request_shows_nothing_more(site: Browser) -> None:
    paths = (
        f"/requests/{PRIVATE}",
        f"/requests/{PRIVATE}.json",
        "/running",
        "/running.json",
        "/",
        "/index.json",
    )
    for path in paths:
        assert "secret" not in site.get(path).text
    assert site.get("/packages/secret-thing").status_code == 404
    hidden = "/packages/secret-thing/bookworm/amd64/20260105_111111_fffff@"
    assert site.get(hidden).status_code == 404


def test_running_and_its_twin(site: Browser) -> None:
    assert f"/requests/{QUEUED}" in site.get("/running").text
    twin = site.get("/running.json").json()
    assert set(twin) == {"requests", "queues"}
    assert {item["state"] for item in twin["requests"]} == {"running", "queued"}


def test_packages_are_listed_and_searched(site: Browser) -> None:
    found = site.get("/packages.json").json()
    names = [item["source"] for item in found["packages"]]
    assert {"sed", "gzip", "hello"} <= set(names)
    assert "secret-thing" not in names
    times = [item["completed"] for item in found["packages"]]
    assert times == sorted(times, reverse=True)
    assert (found["page"], found["more"]) == (1, False)
    page = site.get("/packages?q=GZI").text
    assert 'href="/packages/gzip"' in page
    assert 'href="/packages/sed"' not in page
    assert "No package" in site.get("/packages?q=%25_%22%3Cb%3E").text
    assert site.get("/packages?page=7").status_code == 200
    assert site.get("/packages?page=0").status_code == 404
    assert 'action="/packages"' in site.get("/").text


def test_near_misses_lead_to_a_page(site: Browser) -> None:
    for address, page in (
        (f"/runs/{FAILED_RUN.run_id}".removesuffix("@"), RUN_PAGE),
        ("/packages/sed/bookworm", "/packages/sed"),
        ("/runs", "/#latest"),
    ):
        answer = site.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, page)


def test_a_request_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/index.db"
    engine = open_index(database, writer=True)
    with engine.begin() as connection:
        for name in ("1a2b3c4d", "1a2b3cff"):
            request_id = f"{name}-6f1d-4a57-9d55-6f2f3c8d1a01"
            apply_event(connection, event(EventKind.ACCEPTED, request_id, "dash", 1.0, parameters={}))
        hidden = {"swiftuser": "alice"}
        apply_event(connection, event(EventKind.ACCEPTED, PRIVATE, "private-test", 1.0, parameters=hidden))
    engine.dispose()
    with Browser(create_app(settings(database))) as site:
        assert site.get(f"/requests/{PRIVATE}.json").status_code == 200
        assert site.get(f"/requests/{PRIVATE[:35]}.json").status_code == 404
        assert site.get("/requests/1A2B3C4.json").json()["request_id"].startswith("1a2b3c4d-")
        answer = site.get("/requests/1a2b3c.json")
        assert (answer.status_code, answer.json()["detail"][:7]) == (404, "2 known")
        assert site.get("/requests/1a2b3.json").status_code == 404

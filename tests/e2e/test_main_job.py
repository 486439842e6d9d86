# SPDX-License-Identifier: AGPL-3.0-or-later
"""The main job in the default testbed: real requests through every room, to page and store."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from tests.e2e import intruder
from tests.system import System, running_system
from testyard.result import read_result_tar

OUTCOMES = {
    "gzip": ("pass", 0),
    "ty-fail": ("fail", 4),
    "ty-skip": ("neutral", 8),
    "ty-notests": ("neutral", 8),
    "ty-tbfail": ("tmpfail", 16),
    "testyard-no-such-package": ("fail", 12),
    "ty-never": ("denylisted", 99),
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("main")
    (folder / "never_run").write_text("ty-never/all\n")
    with running_system(folder / "state", {"testbed": "unshare", "package_lists": str(folder)}) as running:
        yield running


@pytest.mark.parametrize("package", OUTCOMES)
def test_outcome_is_the_same_everywhere(system: System, package: str) -> None:
    outcome, exit_code = OUTCOMES[package]
    run = system.run_of(package, "--trigger", "gzip/1.12-1")
    assert (run["outcome"], run["exit_code"]) == (outcome, exit_code), system.cli("log", run["run_id"])
    shown = system.cli("show", run["run_id"])
    assert f"{package} " in shown
    assert outcome in shown
    assert ("(there is no source package" in shown) is ("no-such" in package)
    listed = json.loads(system.cli("results", package, "--json"))["runs"]
    assert [one["run_id"] for one in listed] == [run["run_id"]]
    page = system.get(f"/runs/{run['request_id']}")
    assert page.status_code == 200
    assert outcome in page.text
    stored = httpx.get(run["urls"]["result"], trust_env=False)
    result = read_result_tar(stored.content)
    assert (result.exit_code, result.request_id) == (exit_code, run["request_id"])
    assert result.triggers == ("gzip/1.12-1",)


def test_a_passed_run_has_all_that_the_contract_names(system: System) -> None:
    run = system.run_of("ty-pass", "--trigger", "gzip/1.12-1")
    stored = httpx.get(run["urls"]["result"], trust_env=False)
    assert stored.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(stored.content), mode="r:") as tar:
        names = tar.getnames()
        info = json.loads(tar.extractfile("testinfo.json").read())  # type: ignore[union-attr]
    assert names[0] == "exitcode"
    assert {"testbed-packages", "testpkg-version", "duration", "testinfo.json", "summary"} <= set(names)
    assert info["custom_environment"] == ["ADT_TEST_TRIGGERS=gzip/1.12-1"]
    log = httpx.get(run["urls"]["log"], trust_env=False, headers={"Accept-Encoding": "identity"})
    assert log.headers["content-encoding"] == "gzip"
    assert log.headers["content-type"] == "text/plain; charset=UTF-8"
    with httpx.stream("GET", run["urls"]["log"], trust_env=False) as raw:
        packed = b"".join(raw.iter_raw())
    text = gzip.decompress(packed)
    assert b"triggers: gzip/1.12-1" in text
    assert re.search(rb"^testyard \[..:..:..\]: phase test \S+: \d+\.\d s$", text, re.MULTILINE)
    artifacts = httpx.get(run["urls"]["artifacts"], trust_env=False)
    with tarfile.open(fileobj=io.BytesIO(artifacts.content), mode="r:gz") as tar:
        assert tar.extractfile("artifacts/kept.txt").read() == b"kept\n"  # type: ignore[union-attr]
        assert "log" not in tar.getnames()
        assert set(names) - {"testyard.json"} <= set(tar.getnames())
    assert [test["outcome"] for test in run["tests"]] == ["PASS"]
    phases = [phase["phase"] for phase in run["phases"]]
    assert phases[0] == "wait"
    assert {"testbed", "test", "upload"} <= set(phases)
    figures = httpx.get(system.state.url("worker") + "/metrics", trust_env=False).text
    counted = re.findall(r"^testyard_phase_seconds_count\{.*phase=\"(\w+)\".*\} [1-9]", figures, re.MULTILINE)
    assert set(phases) <= set(counted)


def test_a_package_that_must_not_run_says_so(system: System) -> None:
    run = system.run_of("ty-never")
    assert run["version"] == "blacklisted"
    assert "the release team's list never_run" in system.cli("log", run["run_id"])
    assert "phase test" not in system.cli("log", run["run_id"])


def test_public_queries(system: System) -> None:
    first = system.run_of("ty-pass")
    second = system.run_of("ty-pass")
    assert first["run_id"] < second["run_id"]
    container = f"autopkgtest-{system.state.release}"
    prefix = f"{system.state.release}/{system.state.arch}/t/ty-pass/"
    listing = system.store(f"{container}/", delimiter="@", prefix=prefix)
    assert listing.status_code == 200
    assert listing.headers["content-type"].startswith("text/plain")
    lines = listing.text.splitlines()
    assert lines == sorted(lines)
    assert lines[-2:] == [prefix + first["run_id"], prefix + second["run_id"]]
    assert all(line.endswith("@") for line in lines)
    after = system.store(container, delimiter="@", prefix=prefix, marker=lines[-2])
    assert after.text.splitlines() == lines[-1:]
    nothing = system.store(container, delimiter="@", prefix=prefix, marker=lines[-1])
    assert (nothing.status_code, nothing.text) == (204, "")
    assert system.store("autopkgtest-no-such-release").status_code == 401
    assert system.store("testyard-claims").status_code == 401
    assert system.store(f"{container}/{prefix}20000101_000000_00000@/result.tar").status_code == 404
    as_json = system.store(container, delimiter="@", prefix=prefix, format="json").json()
    assert as_json[-1] == {"subdir": lines[-1]}


@pytest.mark.root
def test_hostile_test_code_reaches_nothing_of_ours(system: System) -> None:
    orders = intruder.wanted(system)
    with intruder.bait(orders["TY_ABSTRACT"]):
        run = system.run_of("ty-intruder", *(f"--env={name}={value}" for name, value in orders.items()))
        outside = intruder.probe_outside(orders)
    log = system.cli("log", run["run_id"])
    assert "ARCHIVE REACHED" in log, "the testbed has no way out, so nothing was proved\n" + log
    assert "\nESCAPED" in log, "the chroot was not left, so nothing was proved\n" + log
    inside = intruder.attempts(log)
    assert [name for name, worked in inside.items() if worked] == [], log
    assert run["outcome"] == "pass", log
    # processes of the runner's outer part were there to be entered
    assert all(int(count) > 0 for count in re.findall(r"^# \w+: (\d+) to try", log, re.MULTILINE)), log
    plain = {name for name in inside if not name.startswith(("tcp ", "udp "))}
    failed = {name for name in plain if not outside.get(name)}
    assert failed <= intruder.OPTIONAL, f"does not work outside, so it proves nothing: {failed}"
    # nobody is told of runs here, so nothing listens for that
    ports = {name: port for name, port in system.state.ports.items() if name != "notify"}
    listening = {f"tcp 127.0.0.1 {port}" for port in ports.values()}
    assert {name for name in listening if not outside.get(name)} == set()
    assert listening <= set(inside)


def test_pages_of_a_real_run_in_a_browser(system: System, chromium: Browser) -> None:
    run = system.run_of("ty-fail")
    problems: list[str] = []
    page = chromium.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(system.state.url("web") + "/")
    page.get_by_role("link", name="ty-fail").first.click()
    assert page.get_by_role("heading", name="ty-fail").count() >= 1
    page.goto(run["urls"]["page"])
    assert "1 of 2 tests failed" in page.inner_text("main")
    assert "expected 4, got 5 <script>alert(1)</script>" in page.inner_text("main")
    raw = httpx.get(page.get_by_role("link", name="Raw log").get_attribute("href") or "", trust_env=False)
    assert "expected 4, got 5" in raw.text
    artifacts = page.get_by_role("link", name="Artifacts").get_attribute("href") or ""
    assert httpx.get(artifacts, trust_env=False).status_code == 200
    assert problems == []
    page.get_by_role("link", name="Request again").click()
    assert "Log in" in page.inner_text("main")  # nobody else may ask here
    page.close()


def test_live_page_of_a_running_test(system: System, chromium: Browser) -> None:
    request_id = system.request("ty-slow", "--env", "TY_SECONDS=6")
    page = chromium.new_page()
    page.goto(f"{system.state.url('web')}/requests/{request_id}")
    page.get_by_text("second 3").wait_for(timeout=30_000)
    page.wait_for_url("**/packages/ty-slow/**", timeout=30_000)
    assert "pass" in page.inner_text("main")
    page.close()

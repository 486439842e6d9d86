# SPDX-License-Identifier: AGPL-3.0-or-later
"""An index and logs such as a week of tests leaves them, for tests and for looking at pages."""

from __future__ import annotations

import asyncio
import gzip
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import SecretStr
from sqlalchemy import Connection
from starlette.applications import Starlette

from testyard.event import Event, EventKind
from testyard.index import open_index
from testyard.index.write import apply_event, record_run, set_queue_lengths
from testyard.result import Result
from testyard.run import Phase, PhaseTime, RunId
from testyard.settings import Database, Settings, Site, Store
from testyard.store import RunPath
from web.app import create_app

STORE = "http://store.example/v1/AUTH_test"
RUNNING = "0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a01"
QUEUED = "0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a02"
REJECTED = "0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a03"
DONE = "0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a04"
PRIVATE = "0a4f5e3c-6f1d-4a57-9d55-6f2f3c8d1a05"

FAILED_RUN = RunPath("bookworm", "amd64", "sed", RunId("20260105_120000_0a1b2@"))
NO_SOURCE_RUN = RunPath("bookworm", "amd64", "jqq", RunId("20260105_101500_ab12c@"))
NOTE = "nothing of the triggers was installed: no pocket has them"
CAUSE = "there is no source package jqq in bookworm"
PASSED_RUN = RunPath("bookworm", "amd64", "gzip", RunId("20260105_101500_ab12c@"))

LOG = """\
autopkgtest [11:58:20]: starting date and time: 2026-01-05 11:58:20+0000
autopkgtest [11:58:20]: version 5.28
autopkgtest [11:58:20]: host worker-1; command line: /usr/bin/autopkgtest sed -- unshare --release bookworm
autopkgtest [11:58:23]: testbed dpkg architecture: amd64
autopkgtest [11:58:23]: testbed running kernel: Linux 6.1.0-28-amd64 #1 SMP PREEMPT_DYNAMIC
autopkgtest [11:58:24]: @@@@@@@@@@@@@@@@@@@@ apt-source sed
Get:1 http://mirror.example/debian bookworm/main sed 4.9-1 (dsc) [2219 B]
Get:2 http://mirror.example/debian bookworm/main sed 4.9-1 (tar) [1398 kB]
Get:3 http://mirror.example/debian bookworm/main sed 4.9-1 (diff) [60.4 kB]
autopkgtest [11:58:27]: testing package sed version 4.9-1
autopkgtest [11:58:27]: build not needed
autopkgtest [11:58:28]: test sub: preparing testbed
Reading package lists...
Building dependency tree...
Setting up autopkgtest-satdep (0) ...\r
(Reading database ... \r(Reading database ... 5%\r(Reading database ... 8377 files installed.)
Removing autopkgtest-satdep (0) ...
autopkgtest [11:58:33]: test sub: echo foo | sed -e s/foo/bar/
autopkgtest [11:58:33]: test sub: [-----------------------
bar
autopkgtest [11:58:33]: test sub: -----------------------]
autopkgtest [11:58:33]: test sub:  - - - - - - - - - - results - - - - - - - - - -
sub                  PASS
autopkgtest [11:58:33]: test upstream-tests: preparing testbed
Reading package lists...
0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.
autopkgtest [11:58:38]: test upstream-tests: [-----------------------
\x1b[32mPASS\x1b[0m: testsuite/appquit
\x1b[32mPASS\x1b[0m: testsuite/brackets
\x1b[32mPASS\x1b[0m: testsuite/convert-number.sh
\x1b[31mFAIL\x1b[0m: testsuite/inplace-selinux.sh
  --- expected
  +++ actual
  @@ -1 +1 @@
  -unconfined_u:object_r:user_home_t:s0
  +<script>alert(1)</script>
make: *** [Makefile:2401: check] Error 1
autopkgtest [11:59:51]: test upstream-tests: -----------------------]
autopkgtest [11:59:51]: test upstream-tests:  - - - - - - - - - - results - - - - - - - - - -
upstream-tests       FAIL non-zero exit status 2
autopkgtest [11:59:52]: @@@@@@@@@@@@@@@@@@@@ summary
sub                  PASS
upstream-tests       FAIL non-zero exit status 2
"""

UBUNTU_LOG = """\
  0s autopkgtest [23:59:58]: starting date and time: 2026-01-05 23:59:58+0000
  0s autopkgtest [23:59:58]: version 5.38ubuntu1
  9s autopkgtest [00:00:07]: @@@@@@@@@@@@@@@@@@@@ test bed setup
 10s Hit:1 http://mirror.example/ubuntu noble InRelease
 12s autopkgtest [00:00:10]: @@@@@@@@@@@@@@@@@@@@ apt-source hello
 14s autopkgtest [00:00:12]: testing package hello version 2.10-3
 14s autopkgtest [00:00:12]: build needed for binaries
 20s dpkg-buildpackage: info: binary-only upload
 21s autopkgtest [00:00:19]: test greet: preparing testbed
 25s autopkgtest [00:00:23]: test greet: [-----------------------
 25s Hello, world!
 25s greet                FAIL this is the test's own word
 26s autopkgtest [00:00:24]: test greet: -----------------------]
 26s greet                PASS
 26s autopkgtest [00:00:24]: test greet:  - - - - - - - - - - results - - - - - - - - - -
 27s autopkgtest [00:00:25]: @@@@@@@@@@@@@@@@@@@@ summary
 27s greet                PASS
"""


def result(source: str, exit_code: int = 0, **other: object) -> Result:
    """A result with tests and phases that fit the exit code."""
    summary = {
        0: "upstream-tests       PASS\n",
        2: "smoke                PASS\nfuzz                 FLAKY non-zero exit status 1\n",
        4: "sub                  PASS\nupstream-tests       FAIL non-zero exit status 2\n",
        8: "*                    SKIP no tests in this package\n",
    }.get(exit_code, "")
    values: dict[str, object] = {
        "exit_code": exit_code,
        "source": source,
        "version": "1.0-1",
        "duration": 92,
        "summary": summary,
        "testinfo": {
            "virt_server": "autopkgtest-virt-unshare --release bookworm",
            "kernel_version": "Linux 6.1.0-28-amd64 #1 SMP PREEMPT_DYNAMIC",
            "cpu_model": "AMD EPYC 7B13",
            "nproc": "2",
            "custom_environment": [f"ADT_TEST_TRIGGERS={source}/1.0-1", "LANG=C.UTF-8"],
        },
        "phases": _phases(1767614300.0),
        "worker": {"worker": "worker-1", "testbed": "unshare"},
    }
    return Result(**{**values, **other})  # type: ignore[arg-type]


def _phases(start: float) -> tuple[PhaseTime, ...]:
    parts: list[tuple[Phase, float, str | None]] = [
        (Phase.WAIT, 1.4, None), (Phase.TESTBED, 3.1, None), (Phase.APT, 4.2, None),
        (Phase.INSTALL, 5.0, "sub"), (Phase.TEST, 0.4, "sub"), (Phase.INSTALL, 4.6, "upstream-tests"),
        (Phase.TEST, 73.0, "upstream-tests"), (Phase.FINISH, 0.6, None), (Phase.UPLOAD, 1.2, None),
    ]  # fmt: skip
    phases = []
    for phase, seconds, test in parts:
        phases.append(PhaseTime(phase, start, seconds, test))
        start += seconds
    return tuple(phases)


def event(kind: EventKind, request_id: str, package: str, when: float, **data: object) -> Event:
    """A step of a request in bookworm's queue, or in ``queue``."""
    queue = str(data.pop("queue", "debci-bookworm-amd64"))
    return Event(kind, request_id, queue, package, when, data)


def fill(database: str) -> None:
    """An index with runs of many outcomes, and a request in each state."""
    engine = open_index(database, writer=True)
    with engine.begin() as connection:
        _fill_runs(connection)
        _fill_requests(connection, time.time())
        lengths = [
            ("debci-bookworm-amd64", 2, 1),
            ("debci-bookworm-arm64", 17, 0),
            ("debci-ppa-trixie-amd64", 1, 1),
        ]
        lengths += [
            ("debci-trixie-amd64", 0, 1),
            ("debci-huge-bookworm-amd64", 0, 1),
            ("testyard-dead", 3, 0),
        ]
        set_queue_lengths(connection, lengths)
    engine.dispose()


def _fill_runs(connection: Connection) -> None:
    now = time.time()
    sources = ["hello", "libpng1.6", "g++-defaults", "dash", "zlib", "python3-defaults", "bc", "systemd"]
    for number, source in enumerate(sources * 4):
        release = ("bookworm", "trixie")[number % 2]
        architecture = ("amd64", "arm64", "riscv64")[number % 3]
        code = (0, 0, 4, 2, 8, 0, 16, 12, 0, 99, 20)[number % 11]
        when = datetime.fromtimestamp(now - 900 - number * 7300, UTC)
        path = RunPath(
            release, architecture, source, RunId.make(when, source.encode(), release, architecture)
        )
        triggers = " ".join(
            f"{name}/1:2.{number}-1" for name in [source, "glibc", "openssl", "perl"][: number % 4 + 1]
        )
        info = {**result(source).testinfo, "custom_environment": [f"ADT_TEST_TRIGGERS={triggers}"]}
        ended = result(
            source, code, requester="britney", version=f"1.{number}-1", duration=11 * number**2, testinfo=info
        )
        record_run(connection, f"autopkgtest-{release}", path, ended)
    failed = result("sed", 4, version="4.9-1", requester="alex", request_id=DONE)
    record_run(connection, "autopkgtest-bookworm", FAILED_RUN, failed)
    record_run(connection, "autopkgtest-bookworm", PASSED_RUN, result("gzip", version="1.12-1", duration=61))
    later = RunPath("bookworm", "amd64", "gzip", RunId("20260106_101500_ab12c@"))
    record_run(connection, "autopkgtest-bookworm-team-ppa", later, result("gzip", 4, version="1.13-1~ppa"))
    only = RunPath("bookworm", "amd64", "jq", RunId("20260106_101500_ab12c@"))
    record_run(connection, "autopkgtest-bookworm-team-ppa", only, result("jq"))
    nothing = result(
        "jqq", 12, version="unknown", worker={"worker": "worker-1", "cause": CAUSE, "note": NOTE}
    )
    record_run(connection, "autopkgtest-bookworm", NO_SOURCE_RUN, nothing)
    hidden = RunPath("bookworm", "amd64", "secret-thing", RunId("20260105_111111_fffff@"))
    record_run(connection, "private-autopkgtest-bookworm-team-ppa", hidden, result("secret-thing"))


def _fill_requests(connection: Connection, now: float) -> None:
    phases = [
        {"phase": "wait", "started": now - 60, "seconds": 1.3, "test": None},
        {"phase": "testbed", "started": now - 58, "seconds": 9.2, "test": None},
        {"phase": "test", "started": now - 48, "seconds": None, "test": "upstream-tests"},
    ]
    tail = "".join(LOG.splitlines(keepends=True)[:30])
    secret = {
        "ppas": ["bot:hunter2token@team/ppa"],
        "triggers": ["dash/0.5.12-2"],
        "env": ["API_TOKEN=s3cr3t"],
    }
    private = {"swiftuser": "alice-secret", "triggers": ["secret-thing/1"]}
    steps = [
        event(
            EventKind.ACCEPTED, RUNNING, "coreutils", now - 61, parameters={"triggers": ["coreutils/9.1-1"]}
        ),
        event(EventKind.TAKEN, RUNNING, "coreutils", now - 60, worker="worker-1"),
        *(event(EventKind.PHASE, RUNNING, "coreutils", now - 40, **phase) for phase in phases),
        event(EventKind.LOG, RUNNING, "coreutils", now - 2, text=tail, start=0, end=len(tail.encode())),
        event(
            EventKind.ACCEPTED, QUEUED, "dash", now - 30, parameters=secret, queue="debci-ppa-trixie-amd64"
        ),
        event(EventKind.ACCEPTED, REJECTED, "nosuch", now - 500, parameters={}),
        event(
            EventKind.REJECTED, REJECTED, "nosuch", now - 499, reason="triggers: 'x' is not source/version"
        ),
        event(EventKind.ACCEPTED, DONE, "sed", now - 5000, parameters={"triggers": ["sed/4.9-1"]}),
        event(
            EventKind.STORED, DONE, "sed", now - 4000, container="autopkgtest-bookworm", path=str(FAILED_RUN)
        ),
        event(EventKind.ACCEPTED, PRIVATE, "private-test", now - 20, parameters=private),
        event(EventKind.TAKEN, PRIVATE, "private-test", now - 19, worker="worker-secret"),
        event(EventKind.LOG, PRIVATE, "private-test", now - 9, text="secret log", start=0, end=10),
    ]
    for step in steps:
        apply_event(connection, step)


def settings(database: str, store: str = STORE) -> Settings:
    """The settings of a site on this index and store."""
    return Settings(
        database=Database(url=SecretStr(database)),
        store=Store(public_url=store),
        site=Site(url="https://testyard.example"),
    )


def packed(text: str = LOG) -> bytes:
    """A log as the store keeps it."""
    return gzip.compress(text.encode())


def store_of(logs: dict[str, bytes]) -> httpx.MockTransport:
    """A store that holds these logs by path, and nothing else."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = logs.get(request.url.path.removeprefix("/v1/AUTH_test/"))
        return httpx.Response(404) if body is None else httpx.Response(200, stream=httpx.ByteStream(body))

    return httpx.MockTransport(answer)


def app_on(folder: Path, transport: httpx.MockTransport | None = None) -> Starlette:
    """The site on a filled index in ``folder``."""
    database = f"sqlite:///{folder}/index.db"
    fill(database)
    logs = {f"autopkgtest-bookworm/{FAILED_RUN}/log.gz": packed()}
    return create_app(settings(database), transport=transport or store_of(logs))


class Browser:
    """Asks the site in process, as a server would; follows no redirect."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self._runner = asyncio.Runner()  # one loop, as in a server: the site keeps connections

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """The answer to one request."""

        async def ask() -> httpx.Response:
            async with self._client() as client:
                return await client.request(method, path, headers=headers)

        return self._runner.run(ask())

    def get_all(self, *paths: str) -> list[str]:
        """Ask for all at the same time; returns the paths in the order of their answers."""

        async def ask() -> list[str]:
            answered: list[str] = []

            async def one(path: str) -> None:
                assert (await client.get(path)).status_code == 200
                answered.append(path)

            async with self._client() as client:
                await asyncio.gather(*map(one, paths))
            return answered

        return self._runner.run(ask())

    def _client(self) -> httpx.AsyncClient:
        # what an error makes the server log is not what this browser gets
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://site.example")

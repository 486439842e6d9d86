# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching a request in the terminal: stages with elapsed time, the log as it comes, a summary."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from testyard.cli.runview import print_run, seconds_text
from testyard.cli.terminal import safe_text
from testyard.client import NotThereError, SiteClient
from testyard.errors import RequestError, TestyardError
from testyard.event import PRIVATE_PACKAGE
from testyard.index import RequestState

#: Seconds that the index may take to show a stored run. Seen: 0.05 to 0.3.
_INDEX_LIMIT = 60.0
#: Seconds for which the site keeps a question that it has nothing new for; with it stages are shown.
_WAIT = 2
#: Seconds for which a site that is away is asked again, and one that does not know the request yet.
_AWAY, _UNKNOWN = 60.0, 30.0
_PAUSE = 0.5

#: Characters; a longer line is printed in pieces.
_LONGEST_LINE = 1 << 16

#: The lines by which a worker ends a log: where time went.
_PHASE_LINE = re.compile(r"testyard \[\d\d:\d\d:\d\d\]: phase [a-z]+[^:]*: [\d.]+ s$")

#: What the site tells of a running log: docs/livelog.md.
Answer = Mapping[str, Any]


def answers(site: SiteClient, request_id: str) -> Iterator[Answer]:
    """What the site tells of a request, from its log's first line on, until nothing follows.

    A site that is away is asked again. Raises TestyardError if it stays away, or never knew of it.
    """
    place: dict[str, str | int] = {"attempt": 0, "offset": 0}
    answered = time.monotonic()
    while True:
        try:
            answer = site.json(f"/requests/{request_id}/log.json", **place, wait=_WAIT)
        except TestyardError as error:
            patience = _UNKNOWN if isinstance(error, NotThereError) else _AWAY
            if time.monotonic() - answered > patience:
                raise
            time.sleep(_PAUSE)
            continue
        if not isinstance(answer.get("pieces"), list) or not isinstance(answer.get("request"), dict):
            raise TestyardError(f"{site.url}: its answer is no log; is site.url a Testyard site?")
        answered = time.monotonic()
        place = {key: answer[key] for key in ("attempt", "offset")}
        place["state"] = str(answer["request"]["state"])
        yield answer
        if answer["over"]:
            return


class Screen:
    """Prints what the site tells; one line below stays in motion and tells the stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("in the queue")
        self._attempt = 0
        self._line = ""
        self._told: set[tuple[str, Any]] = set()
        self._stage_now = ""

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, answer: Answer) -> None:
        """Bring what is new on the screen: stages, then lines."""
        request = answer["request"]
        if answer["attempt"] != self._attempt:
            if self._attempt:
                self._print("… the log begins anew: the next attempt …", "yellow")
            self._attempt, self._line = answer["attempt"], ""
        if request["state"] == RequestState.RUNNING and not request["phases"]:
            self._stage(f"taken by worker {request['worker']}")
        for phase in request["phases"]:
            self._phase(phase)
        for piece in answer["pieces"]:
            self._log(str(piece["text"]))
        if request["state"] == RequestState.QUEUED and request["reason"]:
            self._returned(request)

    def end(self) -> None:
        """Print a last line that has no end."""
        if self._line:
            self._log("\n")

    def _stage(self, text: str) -> None:
        if text != self._stage_now:
            self._stage_now = text
            self._progress.reset(self._task, description=safe_text(text))

    def _returned(self, request: Mapping[str, Any]) -> None:
        key = ("returned", request["taken"])
        if key not in self._told:
            self._told.add(key)
            self._print(f"back in the queue: {request['reason']}", "yellow")
        self._stage("in the queue again")

    def _phase(self, phase: Mapping[str, Any]) -> None:
        label = " ".join(str(phase[key]) for key in ("phase", "test") if phase.get(key))
        seconds = phase.get("seconds")
        if seconds is None:
            self._stage(label)
        key = (label, phase.get("started"))
        if key in self._told:
            return
        self._told.add(key)
        # before its lines; how long it took stands in the table at the end
        took = "" if seconds is None else f" {seconds_text(float(seconds))}"
        self._print(f"■ {label}{took}", "bold cyan")

    def _log(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if not _PHASE_LINE.match(line):  # the table below tells it
                self._print("  " + line.rstrip("\r").rpartition("\r")[2], "")
        if len(self._line) > _LONGEST_LINE:
            self._print("  " + self._line, "")
            self._line = ""

    def _print(self, text: str, style: str) -> None:
        self._progress.console.print(safe_text(text), style=style, markup=False, highlight=False)


def follow(site: SiteClient, request_id: str, console: Console) -> dict[str, Any]:
    """Watch until the request is done; prints the summary and returns the run as the site's JSON has it.

    Raises RequestError if the request was rejected or cancelled, TestyardError if the site goes away.
    """
    with Screen(console) as screen:
        for answer in answers(site, request_id):
            request = answer["request"]
            screen.show(answer)
            if request["state"] == RequestState.REJECTED:
                why = request["reason"] or "rejected; testyard queue --dead shows why"
                raise RequestError("request", why)
            if request["state"] == RequestState.CANCELLED:
                raise RequestError("request", f"it was cancelled: {request['reason']}")
        screen.end()
    if request["package"] == PRIVATE_PACKAGE:
        raise TestyardError("It has ended; only the people whom it names may see its result.")
    run = _indexed_run(site, request_id)
    print_run(run, console)
    return run


def log_pieces(site: SiteClient, request_id: str) -> Iterator[str]:
    """The log of a running request as it comes, to its end; what is left out says so.

    Raises TestyardError if the site goes away.
    """
    attempt = 0
    for answer in answers(site, request_id):
        if attempt not in (0, answer["attempt"]) and answer["pieces"]:
            yield "\n… the log begins anew: the next attempt …\n"
        if answer["pieces"]:
            attempt = answer["attempt"]
        yield from (str(piece["text"]) for piece in answer["pieces"])


def _indexed_run(site: SiteClient, request_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _INDEX_LIMIT
    while True:
        try:
            runs: list[dict[str, Any]] = site.json(f"/runs/{request_id}.json")["runs"]
            return runs[0]
        except (TestyardError, IndexError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)

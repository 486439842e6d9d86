# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watching a request in the terminal: stages with elapsed time, the log as it comes, a summary."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from testyard.adapters.watch import RequestWatch
from testyard.cli.runview import print_run, seconds_text
from testyard.cli.terminal import safe_text
from testyard.client import SiteClient
from testyard.errors import BrokerError, RequestError, TestyardError
from testyard.event import Event, EventKind
from testyard.index import RequestState
from testyard.index.write import LOG_TAIL
from testyard.settings import Settings

#: Seconds that the index may take to show a stored run. Seen: 0.05 to 0.3.
_INDEX_LIMIT = 60.0
#: Seconds between two looks while no event comes, and until the site is asked whether it is over.
_TICK, _SILENCE = 0.5, 5.0


#: The lines by which a worker ends a log: where time went.
_PHASE_LINE = re.compile(r"testyard \[\d\d:\d\d:\d\d\]: phase [a-z]+[^:]*: [\d.]+ s$")


class Screen:
    """Prints what events say; one line below stays in motion and tells the stage."""

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
        self._log_end = 0
        self._known = 0  # where the log that the site told before the watch ends
        self._line = ""
        self._told: set[tuple[str, Any]] = set()

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, request: Mapping[str, Any]) -> None:
        """What was told before anybody watched: the stages and newest log lines in the site's JSON."""
        if request["state"] != RequestState.RUNNING:
            return
        self._taken(request)
        for phase in request["phases"]:
            self._phase(phase)
        if request["log_end"] > LOG_TAIL:
            self._print("… the log's first lines are not shown here …", "dim")
        self._log({"text": request["log_tail"], "end": len(request["log_tail"].encode())})
        self._log_end = self._known = request["log_end"]  # the site took control characters out of its text

    def show(self, event: Event) -> None:
        """Bring one event on the screen."""
        handler = {
            EventKind.TAKEN: self._taken,
            EventKind.PHASE: self._phase,
            EventKind.LOG: self._log,
            EventKind.RETURNED: self._returned,
        }.get(event.kind)
        if handler:
            handler(event.data)

    def _stage(self, text: str) -> None:
        self._progress.reset(self._task, description=text)

    def _taken(self, data: Mapping[str, Any]) -> None:
        self._log_end, self._known, self._line = 0, 0, ""
        self._stage(f"taken by worker {data.get('worker', '')}")

    def _returned(self, data: Mapping[str, Any]) -> None:
        self._print(f"back in the queue: {data.get('reason', '')}", "yellow")
        self._stage("in the queue again")

    def _phase(self, data: Mapping[str, Any]) -> None:
        label = " ".join(str(data[key]) for key in ("phase", "test") if data.get(key))
        seconds = data.get("seconds")
        key = (label, data.get("started"))
        if seconds is None:
            self._stage(label)
        if key in self._told:
            return
        self._told.add(key)
        # before its lines; how long it took stands in the table at the end
        took = "" if seconds is None else f" {seconds_text(float(seconds))}"
        self._print(f"■ {label}{took}", "bold cyan")

    def _log(self, data: Mapping[str, Any]) -> None:
        text, end = str(data.get("text", "")), int(data.get("end", 0))
        if end <= self._known or not text:
            return
        start = end - len(text.encode())
        if self._known and start < self._known:
            text, start = text.encode()[self._known - start :].decode(errors="replace"), self._known
        if end <= self._log_end:  # not its start: bytes that are no UTF-8 make text longer than they are
            self._print("… the log begins anew: the next attempt …", "yellow")
            self._log_end, self._line = 0, ""
        missing = start - self._log_end
        self._log_end, self._known = end, 0
        if missing > 0:
            self._print(f"… {missing} bytes of log are not shown here …", "dim")
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if _PHASE_LINE.match(line):  # the table below tells it
                continue
            self._print("  " + line.rpartition("\r")[2], "")

    def _print(self, text: str, style: str) -> None:
        self._progress.console.print(safe_text(text), style=style, markup=False, highlight=False)


def follow(
    watch: RequestWatch,
    settings: Settings,
    request_id: str,
    console: Console,
    *,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Watch until the request is done; prints the summary and returns the run as the site's JSON has it.

    ``known`` is the request as the site's JSON had it before. Raises RequestError if the request was
    rejected or cancelled, TestyardError if broker or site go away.
    """
    with Screen(console) as screen:
        if known:
            screen.begin(known)
        silence = 0.0
        for event in _events(watch, request_id):
            if event is None:
                silence += _TICK
                # events are best effort: the site knows in the end
                if silence >= _SILENCE and _is_done(settings, request_id):
                    break
                continue
            silence = 0.0
            if event.kind is EventKind.REJECTED:
                raise RequestError("request", str(event.data.get("reason", "rejected")))
            if event.kind is EventKind.CANCELLED:
                raise RequestError("request", f"it was cancelled: {event.data.get('reason', '')}")
            screen.show(event)
    run = _indexed_run(settings, request_id)
    print_run(run, console)
    return run


def _events(watch: RequestWatch, request_id: str) -> Iterator[Event | None]:
    try:
        yield from watch.events(tick=_TICK)
    except BrokerError as error:
        raise BrokerError(
            f"The broker went away; request {request_id} stays with it.",
            details=error.brief,
            resolution=f"When it is back: testyard queue, and then testyard show {request_id}",
        ) from error


def _is_done(settings: Settings, request_id: str) -> bool:
    with SiteClient(settings.site.url) as site:
        try:
            state = site.json(f"/requests/{request_id}.json").get("state")
        except TestyardError:
            return False
    if state == RequestState.REJECTED:
        raise RequestError("request", "rejected; testyard queue --dead shows why")
    if state == RequestState.CANCELLED:
        raise RequestError("request", "it was cancelled")
    return state == RequestState.DONE


def _indexed_run(settings: Settings, request_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _INDEX_LIMIT
    with SiteClient(settings.site.url) as site:
        while True:
            try:
                runs: list[dict[str, Any]] = site.json(f"/runs/{request_id}.json")["runs"]
                return runs[0]
            except (TestyardError, IndexError):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

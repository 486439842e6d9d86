# SPDX-License-Identifier: AGPL-3.0-or-later
"""One run of autopkgtest, from an empty folder to a result that waits to be stored."""

from __future__ import annotations

import io
import logging
import os
import selectors
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testyard.cause import cause_of
from testyard.errors import CancelledRun, LastingTestbedError, TestbedError
from testyard.queue import QueueName
from testyard.request import TestRequest
from testyard.result import UNKNOWN, Result, write_result_tar
from testyard.run import Phase, PhaseTime, explain
from testyard.settings import Timeouts, Worker
from worker import output
from worker.archives import write_archives
from worker.command import build_command
from worker.hosts import Host
from worker.live import LiveReport
from worker.livelog import LiveLog
from worker.mask import Masker
from worker.phases import PhaseTracker
from worker.reproduce import line_of
from worker.rules import Judgement
from worker.runlog import RunLog
from worker.testbed.base import Process, Workspace
from worker.watchdog import Watchdog

log = logging.getLogger(__name__)

#: Seconds between two status messages (the older system's figure), and between two looks at a silent run.
_STATUS_INTERVAL = 10.0
_LOOK = 0.3
#: Less free room than this after a failed run, in bytes: the disk failed, not the package.
_NO_ROOM = 32 * 1024 * 1024


@dataclass(frozen=True)
class Bundle:
    """A finished run: its result, and the files to store."""

    result: Result
    log: Path | bytes
    artifacts: Path | bytes


@dataclass(frozen=True)
class Again:
    """A run that failed through no fault of the package: another is due. ``rule`` says by which rule."""

    rule: str
    cause: str


def runs_folder(settings: Worker, host: str) -> Path:
    """Where the folders of the runs on a host are."""
    return settings.work_dir / "runs" / host


class Execution:
    """Runs one request in one testbed.

    ``elsewhere``: another host may do better where this one needs to be mended.
    """

    def __init__(
        self,
        request: TestRequest,
        queue: QueueName,
        *,
        settings: Worker,
        limits: Timeouts,
        host: Host,
        vm: bool,
        big: bool,
        elsewhere: bool,
        report: LiveReport,
        facts: Mapping[str, Any],
        judge: Callable[[int, str], Judgement],
        cancelled: threading.Event,
        folder: str,
        masker: Masker,
    ) -> None:
        self._request = request
        self._queue = queue
        self._settings = settings
        self._limits = limits
        self._testbed = host.testbed
        self._vm = vm
        self._big = big
        self._elsewhere = elsewhere
        self._report = report
        self._facts = facts
        self._judge = judge
        self._cancelled = cancelled
        self.workspace = Workspace(runs_folder(settings, host.name) / folder)
        self._log = RunLog(self.workspace.log, settings.max_log_bytes, masker)
        self._live = LiveLog(self._log, report)
        self.phases = PhaseTracker(self._on_phase)
        self._least_room = float("inf")
        #: False if a failure that is not the package's was not the host's either.
        self.blames_host = True
        self._reproduce = ""

    def run(self, notes: tuple[str, ...] = ()) -> Bundle | Again:
        """Run the test; a testbed that fails is a result too (exit code 16), with the reason in the log.

        ``judge`` is asked what the exit code means, and shown the log's end.

        Raises CancelledRun if ``cancelled`` is set meanwhile, RequestError if an archive of the request
        can never be used.
        """
        started = time.time()
        trouble, lasting = "", False
        try:
            self._make_folder()
            for note in notes:
                self._log.note(note)
            exit_code = self._autopkgtest()
            trouble = self._no_room(exit_code)
        except TestbedError as error:
            exit_code, trouble = 16, str(error)
            lasting = isinstance(error, LastingTestbedError)
        if self._cancelled.is_set():
            raise CancelledRun("the worker was told to stop")
        self.phases.close()
        self._report.status(running=False, seconds=time.time() - started, tail=self._log.shown())
        exit_code = 16 if trouble else exit_code
        log_end = self._log.tail.decode(errors="replace")
        cause = next(iter(trouble.splitlines()), "")
        cause = cause or cause_of(exit_code, log_end, self._request, self._queue.release)
        self.blames_host = not cause.startswith("archive ")
        judged = self._judge(exit_code, f"{log_end}\n{trouble}")
        if judged.again and (self._elsewhere or not lasting):
            return Again(judged.again, cause or explain(exit_code))
        facts = {**judged.facts, **({"cause": cause} if cause else {})}
        bundle = self._bundle(judged.exit_code, trouble, facts=facts)
        # before storing: what fills the disk may be what keeps the store from taking the result
        try:
            self._testbed.empty(self.workspace)
        except TestbedError as error:
            log.warning("%s is not empty: %s", self.workspace.folder, error.brief)
        return bundle

    def end_log(self, last_words: str = "") -> None:
        """Tell spectators the rest of the log, and a line after it; nothing if it has been stored."""
        if last_words:
            with suppress(TestbedError):  # on a full disk they are told all the same
                self._log.note(last_words)
        self._live.close()

    def refuse(self, exit_code: int, reason: str, version: str = UNKNOWN) -> Bundle:
        """The result of a run that must not be: nothing is started. Raises TestbedError."""
        self._make_folder()
        self._log.note(reason)
        return self._bundle(exit_code, "", facts={"cause": reason}, summary=f"{reason}\n", version=version)

    def _make_folder(self) -> None:
        try:
            if self.workspace.folder.exists():
                self._testbed.remove(self.workspace)
            self.workspace.folder.mkdir(parents=True, mode=0o711)
        except OSError as error:
            raise TestbedError(
                f"the worker's folder cannot be written to: {error.strerror}",
                resolution="Make room on the worker's disk, or see to worker.work_dir.",
            ) from error

    def _autopkgtest(self) -> int:
        try:
            self.phases.enter(Phase.TREE)
            archives = self._archives()
            about = (self._request, self._queue, self._settings, self._testbed, self._limits)
            command = build_command(*about, archives=archives)
            command = replace(command, vm=self._vm, big=self._big)
            self._reproduce = line_of(command, self._request, self._settings, self._testbed.name)
            stopped = self._cancelled.is_set
            self._testbed.prepare(command.release, command.architecture, self._note, stopped)
            self.phases.enter(Phase.TESTBED)
            process = self._testbed.start(self.workspace, command, self._note, stopped)
        except OSError as error:
            raise TestbedError(f"the testbed could not be started: {error}") from error
        ended = False
        try:
            ended = self._follow(process)
        finally:
            if not ended:
                process.kill()
            status = process.wait()
        self._log.settle()
        return output.exit_code_of(status)

    def _archives(self) -> Path | None:
        """The request's archives as files for the testbed.

        Raises RequestError, TestbedError, CancelledRun, OSError.
        """
        if not self._request.ppas or not self._testbed.disposable:
            return None
        folder = self.workspace.out.parent / "archives"
        folder.parent.mkdir()
        about = (self._request.archives, self._queue.release, self._settings.archives)
        write_archives(folder, *about, self._cancelled.is_set)
        return folder

    def _follow(self, process: Process) -> bool:
        """Read the output to its end; False if it was left before, because of ``cancelled``."""
        started = last_status = time.monotonic()
        watchdog = Watchdog(self.workspace.folder, self._limits)
        with selectors.DefaultSelector() as selector:
            selector.register(process.output, selectors.EVENT_READ)
            while not self._cancelled.is_set():
                ready = selector.select(_LOOK)
                if ready:
                    data = os.read(process.output, 1 << 16)
                    if not data:
                        return True
                    self._write(process, data)
                    watchdog.heard()
                else:
                    self._live.flush()
                watchdog.look()
                self._least_room = watchdog.least_room
                if time.monotonic() - last_status >= _STATUS_INTERVAL:
                    last_status = time.monotonic()
                    seconds = last_status - started
                    self._report.status(running=True, seconds=seconds, tail=self._log.shown())
        return False

    def _write(self, process: Process, data: bytes) -> None:
        try:
            masked = self._log.write(data)
        except TestbedError:
            process.kill()
            raise
        self.phases.feed(masked)
        self._live.grown()

    def _note(self, text: str) -> None:
        self._log.note(text)
        self._live.flush()

    def _on_phase(self, phase: PhaseTime) -> None:
        self._live.flush(now=True)  # so that a spectator sees lines and phases in their order
        self._report.phase(phase)

    def _no_room(self, exit_code: int) -> str:
        # autopkgtest may have removed by now what filled the disk
        room = min(self._least_room, shutil.disk_usage(self.workspace.folder).free)
        if exit_code in (0, 2, 8) or room > _NO_ROOM:
            return ""
        return "the worker's disk is full: the run's failure is the worker's, not the package's"

    def _bundle(
        self, exit_code: int, trouble: str, *, facts: Mapping[str, str], summary: str = "", version: str = ""
    ) -> Bundle:
        result = output.read_output(
            self.workspace.out,
            self._request,
            exit_code=exit_code,
            phases=self.phases.phases,
            # a kind that has more than one way to run knows which only now
            facts={**self._facts, "testbed": self._testbed.name, **facts},
        )
        if trouble:
            summary = f"testbed failure: {trouble.splitlines()[0]}\n"
        result = replace(
            result,
            version=version or result.version,
            summary=result.summary or summary,
            reproduce=self._reproduce,
        )
        try:
            for line in (*trouble.splitlines(), *self._times()):
                self._log.note(line)
            return self._files(result)
        except (OSError, TestbedError) as error:
            ending = trouble or f"the worker's files could not be packed: {error}"
            result = replace(result, exit_code=16)
            return Bundle(result, self._log.compressed_tail(ending), _only(result))

    def _times(self) -> list[str]:
        """Where the time went, for the log's end; storing it comes later and is in the result only."""
        times = [phase for phase in self.phases.phases if phase.seconds is not None]
        return [f"phase {phase.label}: {phase.seconds:.1f} s" for phase in times]

    def _files(self, result: Result) -> Bundle:
        artifacts = self.workspace.folder / "artifacts.tar.gz"
        left_out = output.pack_artifacts(
            self.workspace.out,
            artifacts,
            result=write_result_tar(result),
            limit=self._settings.max_artifacts_bytes,
        )
        for entry in left_out[:50]:
            self._log.note(f"not among the artifacts: {entry}")
        self._live.close(complete=True)
        return Bundle(result, output.compress_log(self.workspace.log), artifacts)


def _only(result: Result) -> bytes:
    """Artifacts with nothing but the result's members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        output.add_members(tar, write_result_tar(result))
    return buffer.getvalue()

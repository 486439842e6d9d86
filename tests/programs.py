# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that are programs of the tests, ended by their own pid:

program = Program("keystone", [sys.executable, "-m", "…"], tmp_path / "keystone.log")
program.start(url)   # .pid .stop() .kill()
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

START_SECONDS = 60.0
#: Lines of a log that an error shows.
LOG_LINES = 25


class ProgramError(AssertionError):
    """A part did not start; the message names it and ends with the last lines of its log."""


class Program:
    """One server. ``start`` after ``stop`` or ``kill`` runs the same command again.

    ``tied``: it ends with the thread that starts it, SIGKILL of the whole process included; so start
    it in the main thread.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        tied: signal.Signals | None = None,
    ) -> None:
        self.name = name
        self.log = log
        tie = ["setpriv", "--pdeathsig", tied.name.removeprefix("SIG")] if tied else []
        self._argv = [*tie, *argv]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self, url: str) -> None:
        """Start it and wait until ``url`` answers."""
        self.launch()
        self.wait_answer(url)

    def launch(self) -> None:
        """Start it and do not wait."""
        assert self._process is None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_answer(self, url: str, seconds: float = START_SECONDS) -> None:
        """Wait until ``url`` answers, whatever it says. Raises ProgramError."""
        self.wait(lambda: _answers(url), seconds)

    def wait(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until ``ready()`` is true. Raises ProgramError when it ends before or takes too long."""
        assert self._process is not None, f"{self.name} does not run"
        give_up = time.monotonic() + seconds
        while not ready():
            code = self._process.poll()
            if code is not None:
                raise ProgramError(f"{self.name} ended with {code}. {last_lines(self.log)}")
            if time.monotonic() > give_up:
                raise ProgramError(
                    f"{self.name} does not answer after {seconds:.0f} s. {last_lines(self.log)}"
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL; nothing when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def ask_to_end(self) -> None:
        """SIGTERM, and do not wait; nothing when it does not run."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, seconds: float = 15.0) -> None:
        """SIGTERM, after ``seconds`` SIGKILL; nothing when it does not run."""
        self.ask_to_end()
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
            else:
                self._process = None
        self.kill()


def last_lines(log: Path) -> str:
    """A log's end, for an error."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return f"Its log {log} ends with:\n" + "\n".join(line[:500] for line in lines[-LOG_LINES:])


def _answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.HTTPError:
        return False
    return True

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A worker with status function and site, each a process, and readers of a running log over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.integration.yard import CONTAINER, Yard
from testyard.adapters.amqp import STATUS_QUEUE
from testyard.local.ports import LOOPBACK, free_ports


class Stage:
    """A yard's status function and site, on an index of their own."""

    def __init__(self, yard: Yard, public_url: str) -> None:
        self.yard = yard
        self.folder = yard.folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(zip(("status", "web"), free_ports(2), strict=True))
        self.database = f"sqlite:///{self.folder}/index.db"
        yard.settings["database"] = {"url": self.database}
        yard.settings["store"]["public_url"] = public_url
        yard.settings["site"] = {"url": self.url}
        yard.channel.queue_purge(STATUS_QUEUE)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['web']}"

    def start(self, part: str) -> None:
        """Start status function or site and wait until it answers."""
        module = {"status": "functions.status.app", "web": "web.app"}[part]
        argv = [sys.executable, "-m", "uvicorn", f"{module}:create_app", "--factory", "--no-access-log"]
        argv += ["--port", str(self._ports[part]), "--timeout-graceful-shutdown", "3"]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TESTYARD_")}
        config = self.yard.write_settings()
        with (self.folder / f"{part}.log").open("ab") as log:
            self._processes[part] = subprocess.Popen(
                argv,
                env={**clean, "TESTYARD_CONFIG": str(config), "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not self._healthy(part):
            assert time.monotonic() < deadline, (self.folder / f"{part}.log").read_text()
            time.sleep(0.05)

    def listens(self) -> None:
        """Wait until the status function has looked at the queues once, and so hears of arrivals."""
        address = f"http://{LOOPBACK}:{self._ports['status']}/metrics"
        deadline = time.monotonic() + 30
        while str(self.yard.queue) not in httpx.get(address, timeout=5, trust_env=False).text:
            assert time.monotonic() < deadline, (self.folder / "status.log").read_text()
            time.sleep(0.05)

    def _healthy(self, part: str) -> bool:
        try:
            address = f"http://{LOOPBACK}:{self._ports[part]}/health"
            return httpx.get(address, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def pid(self, part: str) -> int:
        return self._processes[part].pid

    def stop(self, part: str, *, kill: bool = False) -> None:
        process = self._processes.pop(part)
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait(20)

    def restart(self, part: str, *, kill: bool = False) -> None:
        self.stop(part, kill=kill)
        self.start(part)

    def close(self) -> None:
        for part in list(self._processes):
            self.stop(part, kill=True)

    def stored_log(self) -> bytes:
        """The log of the only run."""
        (name,) = [name for name in self.yard.objects() if name.endswith("/log.gz")]
        return gzip.decompress(self.yard.store.get(CONTAINER, name) or b"")


@dataclass
class Reader:
    """What one reader got: ``text`` of the last attempt, and when each piece came."""

    text: str = ""
    pieces: list[tuple[float, str]] = field(default_factory=list)
    gaps: int = 0
    connections: int = 0
    place: str = ""
    state: dict[str, Any] = field(default_factory=dict)

    def take(self, piece: dict[str, Any]) -> None:
        self.text += piece["text"]
        self.gaps += 1 if piece["left_out"] else 0
        self.pieces.append((time.time(), piece["text"]))

    def delays(self, since: int = 0) -> list[float]:
        """Seconds from each tick's print to its arrival here, in the pieces from ``since`` on."""
        found, rest = [], ""
        for came, text in self.pieces[since:]:
            *lines, rest = (rest + text).split("\n")
            words = [line.split() for line in lines if line.startswith("tick ")]
            found += [came - float(line[2]) for line in words]
        return found


async def listen(client: httpx.AsyncClient, address: str, reader: Reader) -> None:
    """Read server-sent events until the log's end; connect again, as a browser does, when cut off."""
    while True:
        try:
            headers = {"Last-Event-ID": reader.place} if reader.place else {}
            async with client.stream("GET", f"{address}.events", headers=headers) as answer:
                if answer.status_code == 200:
                    reader.connections += 1
                    async for name, event_id, data in _events(answer):
                        if name == "log":
                            reader.take(data)
                            reader.place = event_id
                        elif name == "state":
                            reader.state = data
                        elif name == "end":
                            return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.2)


async def _events(answer: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            key, _, value = line.partition(": ")
            fields[key] = value
        elif "event" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}
        else:
            fields = {}


async def poll(client: httpx.AsyncClient, address: str, reader: Reader, *, wait: int = 0) -> None:
    """Ask for JSON until the log's end."""
    place = {"attempt": 0, "offset": 0}
    while True:
        try:
            answer = await client.get(f"{address}.json", params={**place, "wait": wait})
            if answer.status_code == 200:
                reader.connections += 1
                found = answer.json()
                for piece in found["pieces"]:
                    reader.take(piece)
                place = {"attempt": found["attempt"], "offset": found["offset"]}
                reader.state = found["request"]
                if found["over"]:
                    return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.02 if wait else 0.3)


def open_client() -> httpx.AsyncClient:
    """A client for many readers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(timeout=60, limits=limits, trust_env=False)

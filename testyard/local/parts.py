# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts of a local instance: what runs, in which order, and how each is asked to stop."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from testyard.local.ports import LOOPBACK
from testyard.local.state import LocalState
from testyard.local.swift_conf import KINDS

# -P: a folder named like a module in the working directory must not be imported
_PYTHON = (sys.executable, "-P", "-m")


@dataclass(frozen=True)
class Part:
    """One kept process. Parts of a later ``stage`` start when those before are healthy."""

    name: str
    argv: tuple[str, ...]
    stage: int
    port: int | None
    stop_seconds: int  # from the stop signal to SIGKILL
    # whether the signal goes to its whole process group or to it alone, which then ends its children
    stop_group: bool = True
    stop_signal: str = "TERM"


def all_parts(state: LocalState) -> tuple[Part, ...]:
    """The parts in the order of their start. No argument is a secret: everyone can read argv."""
    ports = state.ports
    return (
        Part(
            "broker",
            (*_PYTHON, "testyard.local.rabbitmq", str(state.path)),
            stage=0,
            port=ports["broker"],
            stop_seconds=20,
            stop_group=False,  # the node closes its queues first; its helpers end with it
        ),
        Part("store", _store_argv(state), stage=0, port=ports["store"], stop_seconds=15),
        _web_part(state, "index", "functions.index.app", stage=1),
        _web_part(state, "status", "functions.status.app", stage=1),
        _web_part(state, "request", "functions.request.app", stage=1),
        _web_part(state, "webhook", "functions.webhook.app", stage=1),
        _web_part(state, "forge", "functions.forge.app", stage=1),
        *_notify_part(state),
        _web_part(state, "web", "web.app", stage=1, port="site"),
        Part(
            "worker",
            (*_PYTHON, "worker"),
            stage=1,
            port=ports["worker"],
            stop_seconds=20,
            stop_group=False,  # its tests must not get the signal: their sudden end would look like a result
            stop_signal="INT",  # give back what runs; TERM would wait for its end, which may take hours
        ),
        Part(
            "front",
            (*_PYTHON, "testyard.local.front", str(state.path)),
            stage=2,
            port=ports["web"],
            stop_seconds=5,
        ),
    )


def _notify_part(state: LocalState) -> tuple[Part, ...]:
    """The notify function, if somebody is to be told: 80 MB for nothing otherwise."""
    wanted = state.settings.get("notify", {}).get("rules")
    return (_web_part(state, "notify", "functions.notify.app", stage=1),) if wanted else ()


def _store_argv(state: LocalState) -> tuple[str, ...]:
    back_ends = ",".join(str(state.ports[f"store-{kind}"]) for kind in KINDS)
    return (
        *_PYTHON,
        "testyard.local.swift_server",
        "--root",
        str(state.path / "swift"),
        "--port",
        str(state.ports["store"]),
        "--backend-ports",
        back_ends,
    )


def _web_part(state: LocalState, name: str, module: str, *, stage: int, port: str = "") -> Part:
    number = state.ports[port or name]
    argv = (*_PYTHON, "uvicorn", f"{module}:create_app", "--factory", "--host", LOOPBACK)
    # readers of running logs stay connected for hours: they come again by themselves
    options = ("--port", str(number), "--no-access-log", "--timeout-graceful-shutdown", "3")
    return Part(name, (*argv, *options), stage=stage, port=number, stop_seconds=10)

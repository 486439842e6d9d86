# SPDX-License-Identifier: AGPL-3.0-or-later
"""The services as programs: which interpreter, which arguments, which environment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.openstack.plane.state import State
from tests.programs import Program

#: Where scripts/setup has put it; never imported into a process of ours.
VENV = Path(__file__).parents[3] / ".venv-openstack"
_HERE = Path(__file__).parent
#: Hosts for machines: three of each architecture, as a cluster that keeps apart wants them.
HOSTS = tuple(f"host-{architecture}-{number}" for architecture in ("amd64", "arm64") for number in (1, 2, 3))
#: What starts without the others, in this order: the slowest first.
INDEPENDENT = ("neutron", "placement", "glance", "cinder")


def environment(state: State) -> dict[str, str]:
    """What the services and their tools get: paths, and nothing of the caller's proxies and passwords."""
    folder = state.folder
    return {
        "PATH": f"{VENV / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        # the second one holds the entry point of Neutron's driver
        "PYTHONPATH": os.pathsep.join((str(_HERE.parents[2]), str(_HERE / "entry_points"))),
        "PYTHONWARNINGS": "ignore",
        "OS_PLACEMENT_CONFIG_DIR": str(folder / "placement"),
        "OS_GLANCE_CONFIG_DIR": str(folder / "glance"),
        "OS_NEUTRON_CONFIG_DIR": str(folder / "neutron"),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
        "OS_NOVA_CONFIG_DIR": str(folder / "nova"),
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
        "CINDER_CONFIG_FILE": str(folder / "cinder/cinder.conf"),
        "OS_CINDER_DISABLE_EVENTLET_PATCHING": "true",
    }


def program(state: State, name: str) -> Program:
    """A service, not started yet; it ends with the process that starts it."""
    assert (VENV / "bin/python").exists(), f"{VENV} is missing: scripts/setup test"
    argv = [str(VENV / "bin/python"), "-m", "tests.openstack.plane.services", name, str(state.ports[name])]
    if name == "nova":
        argv += HOSTS
    log = state.logs / f"{name}.log"
    return Program(name, argv, log, environment=environment(state), tied=signal.SIGKILL)

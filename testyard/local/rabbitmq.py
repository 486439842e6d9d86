# SPDX-License-Identifier: AGPL-3.0-or-later
"""A private RabbitMQ node from Debian's package: own data, own cookie, own epmd, loopback only.

    python -m testyard.local.rabbitmq STATE_FOLDER

writes the node's files, starts its epmd and then *becomes* the node, so that whoever started this
process holds the node's pid. It needs neither root nor the system's rabbitmq service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from testyard.errors import SettingsError, TestyardError
from testyard.local.files import make_private_folder, write_private
from testyard.local.ports import LOOPBACK, check_ports_free
from testyard.local.processes import MARK, end
from testyard.local.state import BROKER_USER, VHOST, LocalState

# Debian's /usr/sbin/rabbitmq-server is a wrapper that refuses every account but root and rabbitmq
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
EPMD = Path("/usr/bin/epmd")
# a run may hold its request unacknowledged that long: 2 days, in ms (RabbitMQ's own: 30 minutes)
CONSUMER_TIMEOUT = 172_800_000
# small scheduler and I/O pools: 144 -> 125 MB resident, start unchanged (4.7 s, two cores)
ERLANG_FLAGS = "+S 2:2 +SDcpu 1:1 +SDio 2 +A 1"
# a copy of each request that arrives goes to the status function (docs/messages.md)
TRACE = f'-rabbit trace_vhosts [<<"{VHOST}">>]'


def node_name(state: LocalState) -> str:
    """The node's name; two state folders have two names."""
    digest = hashlib.sha256(os.fsencode(state.path)).hexdigest()[:10]
    return f"testyard-{digest}@localhost"


def hash_password(password: str) -> str:
    """RabbitMQ's salted SHA-256: base64 of four bytes of salt and the digest of salt + password.

    The salt comes from the password, so that the same file is written at each start; a generated
    password has 192 bits, which needs no salt.
    """
    data = password.encode()
    salt = hashlib.sha256(b"testyard salt" + data).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + data).digest()).decode()


def render_config(state: LocalState) -> str:
    """rabbitmq.conf."""
    return "\n".join(
        (
            f"listeners.tcp.1 = {LOOPBACK}:{state.ports['broker']}",
            f"consumer_timeout = {CONSUMER_TIMEOUT}",
            "disk_free_limit.absolute = 200MB",
            "log.console.level = info",
            # `status` and `up` log in to see whether it works: eight lines each time
            "log.connection.level = warning",
            # with definitions to load, RabbitMQ makes no guest user
            f"load_definitions = {state.path}/rabbitmq/definitions.json",
            "",
        )
    )


def render_definitions(state: LocalState) -> str:
    """definitions.json: one virtual host, one user with all rights on it."""
    rights = {"user": BROKER_USER, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
    user = {
        "name": BROKER_USER,
        "password_hash": hash_password(state.secrets["broker_password"]),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [],
    }
    content = {"vhosts": [{"name": VHOST}], "users": [user], "permissions": [rights]}
    return json.dumps(content, indent=1) + "\n"


def node_environment(state: LocalState) -> dict[str, str]:
    """What the node reads from its environment; no secret is in it."""
    home = state.path / "rabbitmq"
    names = ("PATH", "LANG", "LC_ALL", "TZ", MARK)
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {
        **kept,
        "HOME": str(home),  # Erlang looks for its cookie here
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(state.ports["broker-epmd"]),
        # also for the short-lived second node that RabbitMQ starts to see whether epmd runs
        "ERL_AFLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes Erlang, no shell stays in between
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # not /etc/rabbitmq/rabbitmq-env.conf
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),  # none, nor the system's
        "RABBITMQ_DIST_PORT": str(state.ports["broker-distribution"]),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_LOG_BASE": str(state.log_dir),
        "RABBITMQ_MAX_NUMBER_OF_ATOMS": "1048576",
        "RABBITMQ_MAX_NUMBER_OF_PROCESSES": "65536",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_NODENAME": node_name(state),
        "RABBITMQ_PID_FILE": str(state.run_dir / "rabbitmq.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{ERLANG_FLAGS} {TRACE}",
    }


def prepare(state: LocalState) -> None:
    """Write the node's files. Raises SettingsError when RabbitMQ is not installed."""
    if not SERVER.exists() or not EPMD.exists():
        raise SettingsError(
            f"RabbitMQ is not installed: no {SERVER}.",
            resolution="Install it: sudo apt-get install --no-install-recommends rabbitmq-server",
        )
    home = state.path / "rabbitmq"
    make_private_folder(home)
    write_private(home / "rabbitmq.conf", render_config(state))
    write_private(home / "definitions.json", render_definitions(state))
    write_private(home / "enabled_plugins", "[].\n")
    cookie = home / ".erlang.cookie"
    if not cookie.exists():
        # whoever has it commands the node; Erlang insists on a file that only its owner reads
        write_private(cookie, secrets.token_hex(24), mode=0o400)


def start_epmd(state: LocalState) -> None:
    """Start the node's own name server as this process's child; it ends when the node does.

    Erlang would start one itself, as a daemon that outlives the node: so this returns only when ours
    answers. A node that is killed while it starts may leave such a daemon: it is ended.
    Raises SettingsError when its port stays taken, or it does not answer, for 5 seconds.
    """
    port = state.ports["broker-epmd"]
    give_up = time.monotonic() + 5
    while True:
        try:
            check_ports_free({"broker-epmd": port})
            break
        except SettingsError:
            # the one of a node that was killed this moment is still going
            if time.monotonic() > give_up:
                raise
            # SIGTERM is not enough: epmd stays while a node is registered
            end(_daemons(state), seconds=0.5)
            time.sleep(0.1)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "testyard.local.lifeline", str(os.getpid()), str(EPMD)],
        env={**os.environ, **node_environment(state)},
        stdin=subprocess.DEVNULL,
    )
    give_up = time.monotonic() + 5
    while child.poll() is None and time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.02)
    child.kill()
    raise SettingsError(f"broker-epmd: {EPMD} does not answer on port {port}.")


def _daemons(state: LocalState) -> list[psutil.Process]:
    """The name servers that earlier nodes of this instance have started as daemons."""
    ours = {name: node_environment(state)[name] for name in ("HOME", "ERL_EPMD_PORT")}
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "epmd" and "-daemon" in process.cmdline():
                environment = process.environ()
                if {name: environment.get(name) for name in ours} == ours:
                    found.append(process)
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def become_node(state: LocalState) -> None:
    """Turn this process into the RabbitMQ node; returns only by an exception."""
    prepare(state)
    start_epmd(state)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec passes that on
    os.chdir(state.path)
    os.execve(SERVER, [str(SERVER), "-noinput"], node_environment(state))  # noqa: S606  argv, no shell


def main() -> None:
    """Entry point; problems go to stderr, which is the part's log."""
    try:
        state = LocalState.load(Path(sys.argv[1])) if len(sys.argv) == 2 else None
        if state is None:
            raise SettingsError("usage: python -m testyard.local.rabbitmq STATE_FOLDER")
        become_node(state)
    except TestyardError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

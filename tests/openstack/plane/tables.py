# SPDX-License-Identifier: AGPL-3.0-or-later
"""The services' databases, made once for a machine and copied for each plane: 50 s become 1.

The template is kept in ``/var/cache/testyard-tests/openstack`` when root runs the tests, else below
``~/.cache``, or where ``TESTYARD_TEST_PLANES`` says; its name changes with the lock file and with what
makes the tables.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.openstack.plane import configuration
from tests.openstack.plane.database import MariaDB
from tests.openstack.plane.parts import VENV, environment
from tests.openstack.plane.state import State, load_or_create
from tests.programs import ProgramError, last_lines

_CACHE = Path.home() / ".cache" if os.geteuid() else Path("/var/cache")
TEMPLATES = Path(os.environ.get("TESTYARD_TEST_PLANES", _CACHE / "testyard-tests" / "openstack"))
_KEPT = 7 * 86400.0  # seconds after the last use: another clone may have another lock file
_DATABASES = ("placement", "glance", "neutron", "nova_api", "nova_cell0", "nova_cell1", "cinder")
_LOCK_FILE = Path(__file__).parents[3] / "requirements" / "openstack.txt"
#: Nova fills it in from its own address: the template knows no socket.
_CELL = "{{scheme}}://{{username}}@{{hostname}}/{name}?{{query}}"
_SYNC: dict[str, tuple[tuple[str, ...], ...]] = {
    "neutron": (("neutron-db-manage", "upgrade", "heads"),),
    "nova": (
        ("nova-manage", "api_db", "sync"),
        ("nova-manage", "cell_v2", "map_cell0", "--database_connection", _CELL.format(name="nova_cell0")),
        ("nova-manage", "db", "sync"),
        (
            "nova-manage", "cell_v2", "create_cell", "--name", "cell1",
            "--database_connection", _CELL.format(name="nova_cell1"), "--transport-url", "fake:///",
        ),
    ),
    "cinder": (("cinder-manage", "db", "sync"),),
    "glance": (("glance-manage", "db_sync"),),
    "placement": (("placement-manage", "db", "sync"),),
}  # fmt: skip


def copy_databases(data: Path) -> None:
    """Put a new plane's databases into ``data``, which is not there yet."""
    with _locked():
        template = TEMPLATES / _key()
        if not template.exists():
            _make(template)
        os.utime(template)
        _forget_old()
        shutil.copytree(template, data)


def _forget_old() -> None:
    for template in TEMPLATES.glob("data-*"):
        if time.time() - template.stat().st_mtime > _KEPT:
            shutil.rmtree(template)


def _make(template: Path) -> None:
    with TemporaryDirectory(dir=TEMPLATES, prefix="making-") as folder:
        state = load_or_create(Path(folder))
        data = Path(folder) / "data"
        server = MariaDB(data, state.logs / "mariadb.log")
        try:
            server.create()
            server.start()
            server.create_databases(_DATABASES)
            configuration.write(state, server.url)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda service: _sync(state, service), _SYNC))
        finally:
            server.stop()
        data.rename(template)


def _sync(state: State, service: str) -> None:
    file = state.folder / service / configuration.file_name(service)
    for program, *arguments in _SYNC[service]:
        log = state.logs / f"{program}.log"
        with log.open("ab") as output:
            done = subprocess.run(
                [
                    "setpriv", "--pdeathsig", "KILL",
                    str(VENV / "bin" / program), "--config-file", str(file), *arguments,
                ],
                env=environment(state), stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            )  # fmt: skip
        if done.returncode:
            raise ProgramError(f"{program} {arguments[0]} ended with {done.returncode}. {last_lines(log)}")


def _key() -> str:
    digest = hashlib.sha256()
    for file in (_LOCK_FILE, Path(__file__), Path(__file__).with_name("database.py")):
        digest.update(file.read_bytes())
    return f"data-{digest.hexdigest()[:16]}"


@contextmanager
def _locked() -> Iterator[None]:
    TEMPLATES.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (TEMPLATES / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

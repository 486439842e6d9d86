# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may import whom, how large a module may be, and that every entry point is there."""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Room (its import name) → its folder.
ROOMS = {
    "testyard": ROOT / "testyard",
    "functions": ROOT / "functions",
    "web": ROOT / "web",
    "worker": ROOT / "worker-image" / "worker",
    "infra": ROOT / "infra",
}
MODULES = sorted((room, path) for room, folder in ROOMS.items() for path in folder.rglob("*.py"))
#: What `testyard`'s own packages, and its two modules at the edge, may need of others.
EDGES = {
    "adapters",
    "index",
    "intake",
    "openapi",
    "look",
    "cli",
    "local",
    "settings.py",
    "admission.py",
    "archives.py",
    "hosts.py",
    "section.py",
    "client.py",
}
MAX_LINES = 400


def ids(modules: list[tuple[str, Path]]) -> list[str]:
    return [str(path.relative_to(ROOT)) for _, path in modules]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it: ``a.b`` for ``import a.b``, ``from a.b import c``
    gives ``a.b`` and ``a.b.c``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def others(path: Path) -> set[str]:
    """What is neither of the standard library nor of a room."""
    return tops(path) - sys.stdlib_module_names - set(ROOMS)


@pytest.mark.parametrize(("room", "path"), MODULES, ids=ids(MODULES))
def test_rooms_import_testyard_and_never_each_other(room: str, path: Path) -> None:
    allowed = {room} if room == "testyard" else {room, "testyard"}
    assert tops(path) & set(ROOMS) <= allowed


CORE = [
    (room, path)
    for room, path in MODULES
    if room == "testyard" and path.relative_to(ROOMS[room]).parts[0] not in EDGES
]


@pytest.mark.parametrize(("room", "path"), CORE, ids=ids(CORE))
def test_the_contract_is_standard_library_only(room: str, path: Path) -> None:
    assert others(path) == set()
    if path.name != "__main__.py":
        edges = {f"{room}.{edge.removesuffix('.py')}" for edge in EDGES}
        assert imports(path) & edges == set()


def test_the_contract_has_its_modules() -> None:
    names = {path.stem for _, path in CORE}
    assert {"request", "fields", "queue", "run", "result", "store", "event", "errors", "ports"} <= names


@pytest.mark.parametrize(("room", "path"), MODULES, ids=ids(MODULES))
def test_only_infra_knows_the_cloud_kit(room: str, path: Path) -> None:
    assert room == "infra" or not others(path) & {"cdktf", "constructs", "cdktf_cdktf_provider_openstack"}


WEB = [(room, path) for room, path in MODULES if room == "web"]


@pytest.mark.parametrize(("room", "path"), WEB, ids=ids(WEB))
def test_the_site_does_not_know_the_broker(room: str, path: Path) -> None:
    brokers = ("pika", "testyard.adapters.amqp", "testyard.adapters.consumer", "testyard.adapters.watch")
    assert room == "web"
    assert not {name for name in imports(path) if name.startswith(brokers)}


def test_what_runs_in_a_namespace_is_standard_library_only() -> None:
    enter, fence = (ROOMS["worker"] / "testbed" / name for name in ("enter.py", "fence.py"))
    assert tops(fence) | tops(ROOMS["worker"] / "testbed" / "qemu_runner.py") <= sys.stdlib_module_names
    assert tops(enter) - {"worker"} <= sys.stdlib_module_names
    assert {name for name in imports(enter) if name.startswith("worker")} == {
        "worker.testbed",
        "worker.testbed.fence",
    }
    empty = (ROOMS["worker"] / "__init__.py", ROOMS["worker"] / "testbed" / "__init__.py")
    assert [path for path in empty if imports(path)] == []


@pytest.mark.parametrize(("room", "path"), MODULES, ids=ids(MODULES))
def test_modules_are_small_and_licensed(room: str, path: Path) -> None:
    lines = path.read_text().splitlines()
    assert room in ROOMS
    assert len(lines) <= MAX_LINES
    assert lines[0] == "# SPDX-License-Identifier: AGPL-3.0-or-later"


def bare_excepts(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno


@pytest.mark.parametrize(("room", "path"), MODULES, ids=ids(MODULES))
def test_no_bare_except(room: str, path: Path) -> None:
    assert room in ROOMS
    assert list(bare_excepts(path)) == []


def test_every_entry_point_is_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {"testyard", "testyard-worker"} <= set(scripts)
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_rules_see_what_they_forbid(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "def f():\n    import pika\n    from web import x\n    try:\n        f()\n    except:\n        f()\n"
    )
    assert imports(path) == {"pika", "web", "web.x"}
    assert (tops(path) & set(ROOMS), others(path)) == ({"web"}, {"pika"})
    assert list(bare_excepts(path)) == [6]

# SPDX-License-Identifier: AGPL-3.0-or-later
"""The program as operators and the cdktf command line start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

DEVEL = [
    f"{kind}-RegionOne"
    for kind in (
        *("broker", "database", "flavors", "functions", "identity"),
        *("network", "results", "web", "workers"),
    )
]

# Each of the two runtimes gets a guard that ends the process at the first try to reach anything.
PYTHON_GUARD = """
import runpy, sys
def guard(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"network used: {event} {args}")
sys.addaudithook(guard)
sys.argv = ["infra"]
runpy.run_module("infra", run_name="__main__")
"""
NODE_GUARD = """
const refuse = (what) => () => { console.error("network used: " + what); process.exit(9); };
require("net").Socket.prototype.connect = refuse("connect");
require("dns").lookup = refuse("lookup");
"""


def run(argv: list[str], outdir: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run in the checkout, without any credentials; files go to ``outdir``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "AWS_", "JSII_"))}
    kept.pop("TESTYARD_STAGE", None)
    env = {**kept, "CDKTF_OUTDIR": str(outdir), **environ}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def stacks(outdir: Path) -> list[str]:
    return sorted(path.parent.name for path in outdir.glob("stacks/*/cdk.tf.json"))


@pytest.mark.usefixtures("node")
def test_without_arguments_it_is_devel_and_it_is_quiet(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "infra"], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stacks(tmp_path) == DEVEL


@pytest.mark.usefixtures("node")
def test_cdktf_json_starts_it_in_the_environment_that_is_active(tmp_path: Path) -> None:
    command = json.loads((ROOT / "cdktf.json").read_text(encoding="utf-8"))["app"]
    done = run(["sh", "-c", command], tmp_path, VIRTUAL_ENV=sys.prefix, TESTYARD_STAGE="production")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"network-north", "network-south", "lxd-hosts-north"} <= set(stacks(tmp_path))


@pytest.mark.usefixtures("node")
def test_it_reaches_for_nothing(tmp_path: Path) -> None:
    guard = tmp_path / "guard.js"
    guard.write_text(NODE_GUARD, encoding="utf-8")
    options = f"--require={guard}"
    control = run(["node", "-e", "require('net').connect(9)"], tmp_path, NODE_OPTIONS=options)
    assert control.returncode == 9
    done = run([sys.executable, "-c", PYTHON_GUARD], tmp_path / "out", NODE_OPTIONS=options)
    assert (done.returncode, done.stderr) == (0, "")
    assert stacks(tmp_path / "out") == DEVEL


def test_wrong_stage_ends_with_a_message_and_no_traceback(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "infra", "--stage", "live"], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("infra: stage: no stage 'live'")
    assert "Traceback" not in done.stderr


def test_missing_node_ends_with_a_message_and_no_traceback(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "infra"], tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("infra: node: no such program")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("folder", "name", "version"), [(".", "cdktf-cli", "0.21.0"), ("tests/logins", "oidc-provider", "8.8.1")]
)
def test_the_lock_files_hold_hashes_and_no_addresses(folder: str, name: str, version: str) -> None:
    lock = json.loads((ROOT / folder / "package-lock.json").read_text(encoding="utf-8"))
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert packages[f"node_modules/{name}"]["version"] == version
    assert [path for path, package in packages.items() if "resolved" in package] == []
    bundled = {path for path, package in packages.items() if package.get("inBundle")}
    assert [path for path in packages if path not in bundled and "integrity" not in packages[path]] == []

# SPDX-License-Identifier: AGPL-3.0-or-later
"""Package archives for tests: a release with a proposed pocket, and archives beside it, one of them private.

They are served in a network namespace of their own, on an address that a testbed reaches as it reaches any
mirror: loopback and this machine's own addresses are closed to it. That needs root.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testyard.archives import Archives

RELEASE = "sample"
#: Who may read what is below ``/private``.
LOGIN, TOKEN = "reader", "s3cr3t-t0k3n"
SERVER = Path(__file__).with_name("archive_server.py")

_CONTROL = """Source: {name}
Section: misc
Priority: optional
Maintainer: Testyard <testyard@example.org>
Standards-Version: 4.6.2

Package: {name}
Architecture: all
Depends: {depends}
Description: of an archive for tests
 A package of Testyard's own tests.
"""
#: What the tested package depends on; its test prints their versions.
PARTS = ("ty-lib", "ty-other")
_TEST = 'dpkg-query -f "installed:\\${Package}=\\${Version}\\n" -W ty-apt ty-lib ty-other'


@dataclass
class ArchiveSite:
    """Where all of it is, and who signs: ``key`` the release and the archives, ``stranger`` one of them."""

    folder: Path
    address: str = ""
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{self.address}"

    @property
    def log(self) -> str:
        """A line for each request: status and path."""
        return (self.folder / "requests.log").read_text()

    @property
    def settings(self) -> Archives:
        """The archives and keys, as a worker is told of them."""
        return Archives(
            public_url=f"{self.url}/ppa/{{owner}}/{{name}}",
            private_url=f"{self.url}/private/{{owner}}/{{name}}",
            key_url=f"{self.url}/keys/{{fingerprint}}",
            about_url=f"{self.url}/about/{{owner}}/{{name}}",
        )

    def tree(self, plain: Path, made: Path) -> None:
        """A root tree whose archive is this one, from another."""
        shutil.copyfile(plain, made)
        with tarfile.open(made, "a") as tar:
            # only what a tree has: the worker's own must have what autopkgtest needs for a pocket
            sources = [name for name in tar.getnames() if re.search(r"etc/apt/sources\.list($|\.d/.)", name)]
            assert sources == ["./etc/apt/sources.list"], f"{plain} is of an older form: remove it"
            lines = "".join(
                f"{kind} [signed-by=/etc/apt/keyrings/sample.asc] {self.url}/mirror {RELEASE} main\n"
                for kind in ("deb", "deb-src")
            )
            key = (self.folder / "www" / "keys" / self.keys["key"]).read_text()
            files = {sources[0]: lines, "./etc/apt/keyrings/sample.asc": key}
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(text), 0o644
                tar.addfile(info, io.BytesIO(text.encode()))


@contextmanager
def archive_site(folder: Path) -> Iterator[ArchiveSite]:
    """The site, served; gone afterwards."""
    with archive_files(folder) as site, _elsewhere(folder, folder / "www") as site.address:
        yield site


@contextmanager
def archive_files(folder: Path) -> Iterator[ArchiveSite]:
    """The site's files, below ``www``; ``address`` is whoever's that serves them. Needs no root."""
    site = ArchiveSite(folder)
    www = folder / "www"
    with ExitStack() as stack:
        # gpg's agent listens in its folder, whose path must be short
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="ty-gpg-"))
        stack.callback(_run, "gpgconf", "--homedir", home, "--kill", "all")
        (www / "keys").mkdir(parents=True)
        for name in ("key", "stranger"):
            site.keys[name] = _new_key(home, name, www / "keys")
        mirror = {"ty-apt": "1", "ty-lib": "1", "ty-other": "1"}
        _archive(www / "mirror", home, {RELEASE: mirror, f"{RELEASE}-proposed": dict.fromkeys(mirror, "2")})
        _archive(www / "ppa" / "team" / "one", home, {RELEASE: {"ty-lib": "3"}})
        _archive(www / "ppa" / "team" / "two", home, {RELEASE: {"ty-apt": "4"}})
        _archive(www / "ppa" / "team" / "strange", home, {RELEASE: {"ty-lib": "5"}}, signer="stranger")
        _archive(www / "private" / "team" / "hidden", home, {RELEASE: {"ty-lib": "6"}})
        for name in ("one", "two", "strange"):
            about = www / "about" / "team" / name
            about.parent.mkdir(parents=True, exist_ok=True)
            about.write_text(f'{{"signing_key_fingerprint": "{site.keys["key"]}"}}')
        yield site


def _new_key(home: str, name: str, folder: Path) -> str:
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    _run(*gpg, "--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "never")
    listing = _run(*gpg, "--with-colons", "-k", f"{name}@example.org")
    fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
    (folder / fingerprint).write_text(_run(*gpg, "--armor", "--export", fingerprint))
    return fingerprint


def _archive(
    folder: Path, home: str, suites: Mapping[str, Mapping[str, str]], *, signer: str = "key"
) -> None:
    for suite, packages in suites.items():
        pool = folder / "pool" / suite
        pool.mkdir(parents=True)
        for name, version in packages.items():
            _package(pool, name, version)
        binary, source = (folder / "dists" / suite / "main" / place for place in ("binary-all", "source"))
        for place, kind, index in ((binary, "packages", "Packages"), (source, "sources", "Sources")):
            place.mkdir(parents=True)
            (place / index).write_text(_run("apt-ftparchive", kind, f"pool/{suite}", cwd=folder))
        shutil.copytree(binary, binary.with_name("binary-amd64"))
        facts = {"Suite": suite, "Codename": RELEASE, "Architectures": "amd64 all", "Components": "main"}
        options = [f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in facts.items()]
        place = folder / "dists" / suite
        (place / "Release.new").write_text(_run("apt-ftparchive", *options, "release", str(place)))
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--local-user", f"{signer}@example.org")
        signed = _run(*gpg, "--clearsign", "--output", "-", str(place / "Release.new"))
        (place / "InRelease").write_text(signed)


def _package(pool: Path, name: str, version: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / f"{name}-{version}"
        (tree / "debian" / "source").mkdir(parents=True)
        depends = ", ".join(PARTS) if name == "ty-apt" else "dpkg"
        files = {
            "control": _CONTROL.format(name=name, depends=depends),
            "changelog": f"{name} ({version}) {RELEASE}; urgency=low\n\n  * For tests.\n\n"
            " -- Testyard <testyard@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n",
            "rules": "#!/usr/bin/make -f\n%:\n\t:\n",
            "source/format": "3.0 (native)\n",
        }
        for file, text in files.items():
            (tree / "debian" / file).write_text(text)
        (tree / "debian" / "tests").mkdir()
        (tree / "debian" / "tests" / "control").write_text(
            f"Test-Command: echo source={version}; {_TEST}\nFeatures: test-name=versions\n"
            "Depends: ty-apt\nRestrictions: allow-stderr\n"
        )
        _run("dpkg-source", "-b", str(tree), cwd=pool)
        binary = Path(scratch) / "binary"
        (binary / "DEBIAN").mkdir(parents=True)
        (binary / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            f"Maintainer: Testyard <testyard@example.org>\nDepends: {depends}\nDescription: for tests\n"
        )
        _run("dpkg-deb", "--build", "-Zgzip", str(binary), str(pool / f"{name}_{version}_all.deb"))


@contextmanager
def _elsewhere(folder: Path, www: Path) -> Iterator[str]:
    """Serve a folder in a network namespace; gives the server's address."""
    name = f"ty{os.getpid() % 100000}"
    third, fourth = os.getpid() // 64 % 256, os.getpid() % 64 * 4
    ours, theirs = f"10.213.{third}.{fourth + 1}", f"10.213.{third}.{fourth + 2}"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "address", "add", f"{ours}/30", "dev", f"{name}a")
        _run("ip", "link", "set", f"{name}a", "up")
        inside = ("ip", "-n", name)
        _run(*inside, "address", "add", f"{theirs}/30", "dev", "eth0")
        _run(*inside, "link", "set", "eth0", "up")
        _run(*inside, "link", "set", "lo", "up")
        log = folder / "requests.log"
        log.touch()
        argv = [sys.executable, str(SERVER), str(www), str(log), theirs]
        with (folder / "server.log").open("wb") as said:
            server = subprocess.Popen(
                ["ip", "netns", "exec", name, *argv], stdin=subprocess.PIPE, stdout=said, stderr=said
            )
        try:
            assert server.stdin
            with server.stdin:
                server.stdin.write(f"{LOGIN}:{TOKEN}\n".encode())
            _wait_for(log, server)
            yield theirs
        finally:
            server.kill()
            server.wait()
    finally:
        _run("ip", "netns", "del", name)


def _wait_for(log: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while "ready" not in log.read_text():
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stderr}"
    return done.stdout

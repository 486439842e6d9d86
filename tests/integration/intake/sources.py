# SPDX-License-Identifier: AGPL-3.0-or-later
"""Archives of text files, published anew at will, and what serves them on loopback."""

from __future__ import annotations

import base64
import gzip
import hashlib
import lzma
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.archives import LOGIN, TOKEN


@dataclass
class Served:
    """A server of a folder on loopback; ``asked`` has status and path of all that was asked."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)
    failing: str = ""
    tags: bool = False

    def count(self, part: str) -> int:
        return sum(part in line for line in self.asked)


@contextmanager
def serving() -> Iterator[Callable[[Path], Served]]:
    servers = []
    expected = f"Basic {base64.b64encode(f'{LOGIN}:{TOKEN}'.encode()).decode()}"

    def start(folder: Path) -> Served:
        served = Served(folder)

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if served.failing and served.failing in self.path:
                    self.send_error(500)
                elif self.path.startswith("/private/") and self.headers["Authorization"] != expected:
                    self.send_error(401)
                elif served.tags and self.path.endswith("InRelease"):
                    self._tagged(Path(self.translate_path(self.path)))
                else:
                    super().do_GET()

            def _tagged(self, path: Path) -> None:
                content = path.read_bytes() if path.is_file() else None
                tag = f'"{hashlib.sha256(content or b"").hexdigest()}"'
                same = self.headers["If-None-Match"] == tag
                self.send_response(404 if content is None else 304 if same else 200)
                self.send_header("ETag", tag)
                self.end_headers()
                self.wfile.write(b"" if same else content or b"")

            def log_request(self, code: Any = "-", size: Any = "-") -> None:
                served.asked.append(f"{int(code)} {self.path}")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        served.url = f"http://127.0.0.1:{server.server_port}"
        return served

    try:
        yield start
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class Archive:
    """An archive of text files, published anew at will."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._time = 1_700_000_000

    def publish(
        self,
        *sources: str,
        suite: str = "noble",
        form: str = ".xz",
        component: str = "main",
        by_hash: bool = False,
    ) -> None:
        place = self._folder / "dists" / suite / component / "source"
        place.mkdir(parents=True, exist_ok=True)
        text = "".join(
            f"Package: {source.partition('/')[0]}\nBinary: x\nVersion: {source.partition('/')[2]}\n"
            f"Maintainer: Nobody\nFiles:\n 0123 1 x_1.dsc\n\n"
            for source in sources
        ).encode()
        pack: Callable[[bytes], bytes] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[form]
        half = len(text) // 2  # as several processors pack it
        data = pack(text[:half]) + pack(text[half:])
        for old in place.iterdir():
            if old.is_file():
                old.unlink()
        sha256 = hashlib.sha256(data).hexdigest()
        path = place / ("by-hash/SHA256" if by_hash else "") / (sha256 if by_hash else f"Sources{form}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        release = self._folder / "dists" / suite / "InRelease"
        yes = "Acquire-By-Hash: yes\n" if by_hash else ""
        self._write(
            release,
            f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: x\nSuite: {suite}\n{yes}"
            f"MD5Sum:\n 0123 1 {component}/source/Sources{form}\nSHA256:\n"
            f" {sha256} {len(data):>9} {component}/source/Sources{form}\n"
            "-----BEGIN PGP SIGNATURE-----\n\nxxxx\n-----END PGP SIGNATURE-----\n",
        )

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        self._time += 10  # the server tells whole seconds
        os.utime(path, (self._time, self._time))

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A LXD server, on this machine or another: how it is reached, and why it can be believed.

Each call opens a session of its own: sessions are for one thread. Commands in instances go by the `lxc`
program, which autopkgtest calls: pylxd's own way, by web sockets, ends in errors of the TLS library.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pylxd
import requests
from pylxd.client import get_session_for_url
from pylxd.exceptions import ClientConnectionFailed, LXDAPIException

from testyard.errors import LastingTestbedError, TestbedError, words_of
from testyard.hosts import LxdHost
from worker import process
from worker.testbed.account import Account

#: What the server is called in `lxc` commands.
REMOTE = "testyard"
#: Where a server of this machine listens: Debian's, and the snap's.
_SOCKETS = (Path("/var/lib/lxd/unix.socket"), Path("/var/snap/lxd/common/lxd/unix.socket"))
#: Names in the folder that is LXD_CONF.
_CONFIG, _CERTIFICATE, _KEY, _PINNED = "config.yml", "client.crt", "client.key", f"servercerts/{REMOTE}.crt"
#: Where `lxc` finds the socket's folder.
_SOCKET_PLACE = Path("/tree")
#: Seconds to connect; seconds for an answer, also of what takes long on the server.
CONNECT, ANSWER = 5.0, 300.0


@dataclass(frozen=True)
class LxdServer:
    """A host's server. ``folder`` is a folder of the worker's own for it; `lxc` runs as ``account``."""

    host: LxdHost
    folder: Path
    account: Account

    @property
    def remote(self) -> bool:
        """True if it is reached by network."""
        return self.host.address.startswith("https:")

    @property
    def socket(self) -> Path:
        """The socket of a server on this machine. Raises LastingTestbedError if there is none."""
        named = self.host.address.removeprefix("unix:")
        places = _SOCKETS if named == "local" else (Path(named),)
        for place in places:
            try:
                if stat.S_ISSOCK(place.stat().st_mode):
                    return place
            except OSError:
                continue
        raise LastingTestbedError(
            f"no LXD on this machine: no socket {' or '.join(str(place) for place in places)}",
            resolution="Install and start it: apt-get install lxd nftables dnsmasq-base; lxd init --minimal",
        )

    @contextmanager
    def session(self, timeout: float = ANSWER) -> Iterator[pylxd.Client]:
        """The server's interface, for one thread; ``timeout`` (s) holds for each answer.

        Raises TestbedError if it cannot be reached or refuses something, also what is asked of it inside.
        """
        with self.errors():
            session = self._connect(timeout)
            try:
                yield session
            finally:
                session.api.session.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What goes wrong with the server becomes a TestbedError."""
        try:
            yield
        except (requests.RequestException, ClientConnectionFailed, OSError) as error:
            raise TestbedError(
                f"LXD {self.host.address} does not answer",
                details=words_of(error)[:500],
                resolution="Is it running, and may the worker reach it? `testyard doctor` says more.",
            ) from error
        except LXDAPIException as error:
            raise TestbedError(f"LXD {self.host.address}: {error}") from error

    def _connect(self, timeout: float) -> pylxd.Client:
        if not self.remote:
            place = self.socket
            if not os.access(place, os.R_OK | os.W_OK):
                raise LastingTestbedError(
                    f"the worker may not use {place}",
                    resolution=f"Add its account to the group of that file: {_group_of(place)}",
                )
            return pylxd.Client(endpoint=str(place), timeout=(CONNECT, timeout))
        self._make_folder()
        pair = (str(self.folder / _CERTIFICATE), str(self.folder / _KEY))
        # pylxd compares the server's certificate with this file, whatever name it was made for
        session = get_session_for_url(self.host.address, cert=pair, verify=str(self._pinned()))
        session.trust_env = False  # else REQUESTS_CA_BUNDLE would take that file's place
        client = pylxd.Client(
            endpoint=self.host.address, cert=pair, session=session, timeout=(CONNECT, timeout)
        )
        if not client.trusted:
            self._join(client)
        return client

    # trust

    def _join(self, client: pylxd.Client) -> None:
        """Have the server trust our certificate, by the token."""
        if token := self._token():
            try:
                client.authenticate(token)
            except LXDAPIException as error:
                raise self._untrusted(f"its token was refused: {error}") from error
        if not client.trusted:
            raise self._untrusted("the worker's certificate is not trusted")

    def _untrusted(self, reason: str) -> LastingTestbedError:
        return LastingTestbedError(
            f"LXD {self.host.address}: {reason}",
            resolution="On that machine: `lxc config trust add --name NAME` gives a token; put it into a "
            f"file, mode 0600, that `token` of the host {self.host.name} names. "
            f"Or: `lxc config trust add` with a copy of {self.folder / _CERTIFICATE}",
        )

    def _token(self) -> str:
        if not self.host.token:
            return ""
        try:
            return self.host.token.read_text().strip()
        except OSError as error:
            raise LastingTestbedError(
                f"the token of host {self.host.name} cannot be read: {words_of(error)}"
            ) from error

    def _pinned(self) -> Path:
        """The file with the server's certificate; fetched and compared if there is none yet."""
        file = self.folder / _PINNED
        wanted = self.host.fingerprint or _fingerprint_in(self._token())
        if file.exists() and wanted in ("", _fingerprint(file.read_text())):
            return file
        if not wanted:
            raise LastingTestbedError(
                f"the certificate of LXD {self.host.address} is not known",
                resolution="Set `fingerprint` of the host: `lxc info` there shows certificate_fingerprint.",
            )
        place = urlsplit(self.host.address)
        with self.errors():
            text = ssl.get_server_certificate((place.hostname or "", place.port or 8443), timeout=CONNECT)
        if _fingerprint(text) != wanted:
            raise LastingTestbedError(
                f"LXD {self.host.address} has another certificate than the settings say",
                details=f"its fingerprint: {_fingerprint(text)}",
                resolution="If that is right, set `fingerprint` of the host to it.",
            )
        self._write(_PINNED, text.encode())
        return file

    # what `lxc` needs

    def client_folder(self, box: Path) -> tuple[Path, str]:
        """What is /tree where `lxc` runs, and where LXD_CONF is then; ``box`` is /work there."""
        if self.remote:
            return self.folder, "/tree"
        folder = box / "lxd"
        folder.mkdir()
        (folder / _CONFIG).write_text(_config(f"unix://{_SOCKET_PLACE / self.socket.name}", "unix"))
        for path in (folder, folder / _CONFIG):
            self.account.give(path)
        return self.socket.parent, "/work/lxd"

    def client_group(self) -> int | None:
        """The group that `lxc` must be in. Raises LastingTestbedError if that is root's."""
        if self.remote:
            return None
        group = self.socket.stat().st_gid
        if group == 0 and self.account.switch:
            raise LastingTestbedError(
                f"{self.socket} belongs to the group root, which autopkgtest must not be in",
                resolution="Start LXD with `--group lxd`, as its package does.",
            )
        return group

    def _make_folder(self) -> None:
        """A folder with our certificate, a copy of the operator's or one of our own making."""
        for folder in (self.folder, self.folder / "servercerts"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.account.give(folder)
        if self.host.certificate and self.host.key:
            for name, source in ((_CERTIFICATE, self.host.certificate), (_KEY, self.host.key)):
                try:
                    self._write(name, source.read_bytes())
                except OSError as error:
                    raise LastingTestbedError(
                        f"{source} of host {self.host.name} cannot be read: {words_of(error)}"
                    ) from error
        elif not (self.folder / _CERTIFICATE).exists():
            self._make_certificate()
        self._write(_CONFIG, _config(self.host.address, "lxd").encode())

    def _make_certificate(self) -> None:
        made, key = self.folder / "made.crt", self.folder / "made.key"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-sha384", "-nodes")
        subject = f"/CN=testyard {socket.gethostname()}"[:60]
        files = ("-keyout", str(key), "-out", str(made))
        process.run(["openssl", "req", "-x509", *curve, "-days", "3650", "-subj", subject, *files])
        self._write(_KEY, key.read_bytes())
        self._write(_CERTIFICATE, made.read_bytes())
        for file in (made, key):
            file.unlink()

    def _write(self, name: str, data: bytes) -> None:
        """Nobody but the account reads it; whoever reads it meanwhile has the old or the new text."""
        file = self.folder / name
        if file.exists() and file.read_bytes() == data:
            return
        new = file.with_name(f"{file.name}.new.{os.getpid()}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(data)
        self.account.give(new)
        new.replace(file)


def _config(address: str, protocol: str) -> str:
    """`lxc`'s settings; JSON is YAML."""
    kind = {} if protocol == "unix" else {"protocol": "lxd", "auth_type": "tls"}
    remote = {"addr": address, "public": False, **kind}
    return json.dumps({"default-remote": REMOTE, "remotes": {REMOTE: remote}, "aliases": {}})


def _fingerprint(certificate: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def _fingerprint_in(token: str) -> str:
    """The server's fingerprint that a token carries; empty if it is no such token."""
    try:
        found = json.loads(base64.b64decode(token, validate=True))["fingerprint"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _group_of(place: Path) -> str:
    try:
        return place.group()
    except KeyError:
        return str(place.stat().st_gid)

# SPDX-License-Identifier: AGPL-3.0-or-later
"""A provider as a process of terraform's: handshake on standard output, calls on a unix socket."""

from __future__ import annotations

import base64
import datetime
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc
from tf.gen import tfplugin_pb2_grpc as rpc

# of the plugin library, of terraform's protocol
_HANDSHAKE, _PROTOCOL = 1, 6
# terraform changes ten resources at a time
_CALLS = 16


class _Controller(controller_rpc.GRPCControllerServicer):  # type: ignore[misc]
    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def Shutdown(self, request: Any, context: Any) -> Any:
        self._ended.set()
        return controller.Empty()


class _Output(stdio_rpc.GRPCStdioServicer):  # type: ignore[misc]
    def StreamStdio(self, request: Any, context: Any) -> Iterator[Any]:
        return iter(())


def serve(provider: Any) -> None:
    """Serve until terraform says that it is done. The socket's folder is ours alone."""
    ended = threading.Event()
    server = grpc.server(ThreadPoolExecutor(_CALLS), options=[("grpc.max_receive_message_length", 256 << 20)])
    rpc.add_ProviderServicer_to_server(provider, server)
    controller_rpc.add_GRPCControllerServicer_to_server(_Controller(ended), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(_Output(), server)
    key, certificate, der = _certificate()
    with tempfile.TemporaryDirectory(prefix="provider-") as folder:
        socket = Path(folder) / "socket"
        server.add_secure_port(f"unix://{socket}", grpc.ssl_server_credentials([(key, certificate)]))
        server.start()
        encoded = base64.b64encode(der).decode().rstrip("=")
        print(f"{_HANDSHAKE}|{_PROTOCOL}|unix|{socket}|grpc|{encoded}", flush=True)
        ended.wait()
        server.stop(grace=1).wait()


def _certificate() -> tuple[bytes, bytes, bytes]:
    """A key and a certificate of its own for a day, in PEM, and the certificate in DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem), certificate.public_bytes(serialization.Encoding.DER)

"""A web server on this machine that behaves as badly as tests want it to."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[[BaseHTTPRequestHandler], object]


@dataclass
class WebServer:
    """A running server.

    Attributes:
        host: its IP address.
        port: its port.
        answers: what it does, by path.
        requests: path and headers of each request, in order.
        clients: address and port of each connection that sent one.
        stopping: set at the end; answers that dawdle wait on it.
    """

    host: str
    port: int
    scheme: str = "http"
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    clients: set[Any] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str | None = None) -> str:
        """The address of a path."""
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    def serve(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Answer always the same; returns the address. Underscores in the headers' names stand for hyphens."""
        return self.serve_by(path, lambda request: answer(request, body, status, **headers))

    def serve_by(self, path: str, do: Answer) -> str:
        """Let a function answer; returns the address."""
        self.answers[path] = do
        return self.url(path)


def answer(request: BaseHTTPRequestHandler, body: bytes = b"", status: int = 200, **headers: str) -> None:
    """A whole answer, with its length unless the headers tell another."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **_hyphened(headers)}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def not_found(request: BaseHTTPRequestHandler) -> None:
    """What an unknown path gets."""
    answer(request, status=404)


@contextmanager
def web_server(host: str = "127.0.0.1", port: int = 0, certificate: Path | None = None) -> Iterator[WebServer]:
    """A running server, with TLS if there is a certificate with its key."""
    server = WebServer(host, port, "https" if certificate else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a header and a body are two small packets

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.requests.append((self.path, dict(self.headers)))
            server.clients.add(self.client_address)
            server.answers.get(path, not_found)(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hung up is what some tests are about."""

    listener = Listener((host, port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server.port = listener.server_port
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        listener.shutdown()
        thread.join()
        listener.server_close()


def write_certificate(path: Path, *names: str) -> Path:
    """A certificate for host names and addresses, with its key; it vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _hyphened(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

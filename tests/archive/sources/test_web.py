"""Downloads from servers that are slow, broken, hostile or fine."""

from __future__ import annotations

import email.utils
import gzip
import random
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core import __version__
from caption_core.archive.sources import web_connections
from caption_core.archive.sources.options import WebPolicy
from caption_core.archive.sources.web import WebReader
from caption_core.errors import ImageError
from caption_core.records import ErrorKind
from tests.web_server import WebServer, answer, web_server, write_certificate

CAP = 1 << 20
SECRET = "signature-nobody-may-see"
LOCAL = WebPolicy(private_addresses=True, timeout_s=5, retries=2)
HASTY = WebPolicy(private_addresses=True, timeout_s=0.2, total_s=0.5, retries=0)


class Pauses(list[float]):
    """Takes the pauses that a reader would make."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def _public_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """One loopback address plays the public internet."""
    monkeypatch.setattr(web_connections, "is_public", lambda address: address == "127.0.0.1")


def read(url: str, max_bytes: int = CAP, policy: WebPolicy = LOCAL, pauses: Pauses | None = None) -> bytes:
    reader = WebReader(policy, sleep=Pauses() if pauses is None else pauses)
    try:
        return reader.read(url, max_bytes)
    finally:
        reader.close()


def error_of(url: str, max_bytes: int = CAP, policy: WebPolicy = LOCAL, pauses: Pauses | None = None) -> ImageError:
    """The error that an address ends with, which must not give away what the address holds."""
    url += ("&" if "?" in url else "?") + f"token={SECRET}"
    with pytest.raises(ImageError) as caught:
        read(url, max_bytes, policy, pauses)
    message = str(caught.value)
    assert message
    assert SECRET not in message
    assert "\n" not in message
    return caught.value


def outcome(url: str, policy: WebPolicy = LOCAL) -> tuple[ErrorKind, str]:
    error = error_of(url, policy=policy)
    return error.kind, str(error)


# What is asked and what is taken


def test_an_image_is_downloaded(server: WebServer) -> None:
    url = server.serve("/a.jpg", b"content")
    assert read(f"{url}?size=large#part") == b"content"
    ((path, headers),) = server.requests
    assert path == "/a.jpg?size=large"
    assert headers["User-Agent"] == f"capstan/{__version__}"
    assert headers["Accept-Encoding"] == "identity"


def test_an_address_may_hold_what_has_to_be_escaped(server: WebServer) -> None:
    server.serve("/a%20b%C3%A9.jpg", b"content")
    assert read(server.url("/a b\u00e9.jpg")) == b"content"


def test_connections_are_kept_between_images(server: WebServer) -> None:
    reader = WebReader(LOCAL)
    server.serve("/gone", b"<html>", status=404)
    server.serve("/moved", b"<html>", status=301, Location="/a.jpg")
    url = server.serve("/a.jpg", b"content")
    for _ in range(3):
        assert reader.read(url, CAP) == b"content"
        assert reader.read(server.url("/moved"), CAP) == b"content"
        with pytest.raises(ImageError):
            reader.read(server.url("/gone"), CAP)
    reader.close()
    assert len(server.clients) == 1


def test_many_threads_share_a_reader(server: WebServer) -> None:
    urls = [server.serve(f"/{number}.jpg", b"%d" % number * 50_000) for number in range(40)]
    reader = WebReader(LOCAL)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda url: reader.read(url, CAP), urls))
    reader.close()
    assert found == [b"%d" % number * 50_000 for number in range(40)]
    assert len(server.clients) <= 8


def test_proxies_of_the_environment_are_not_used(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert read(server.serve("/a.jpg", b"content")) == b"content"


def test_nothing_but_an_empty_body(server: WebServer) -> None:
    assert error_of(server.serve("/a.jpg")).kind is ErrorKind.EMPTY
    assert error_of(server.serve("/b.jpg", status=204)).kind is ErrorKind.EMPTY


# What the server says


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ErrorKind.UNREADABLE),
        (403, ErrorKind.UNREADABLE),
        (404, ErrorKind.NOT_FOUND),
        (410, ErrorKind.NOT_FOUND),
        (400, ErrorKind.DOWNLOAD_FAILED),
        (202, ErrorKind.DOWNLOAD_FAILED),
        (206, ErrorKind.DOWNLOAD_FAILED),
        (304, ErrorKind.DOWNLOAD_FAILED),
        (451, ErrorKind.DOWNLOAD_FAILED),
    ],
)
def test_a_final_status_is_not_tried_again(server: WebServer, status: int, kind: ErrorKind) -> None:
    error = error_of(server.serve("/a.jpg", status=status))
    assert error.kind is kind
    assert f"HTTP status {status} " in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_status_that_may_pass_is_tried_again(server: WebServer, status: int) -> None:
    pauses = Pauses()
    error = error_of(server.serve("/a.jpg", status=status), pauses=pauses)
    assert error.kind is ErrorKind.DOWNLOAD_FAILED
    assert f"HTTP status {status}" in str(error)
    assert "tried 3 times" in str(error)
    assert (len(server.requests), len(pauses)) == (3, 2)


def flaky(*answers: tuple[int, dict[str, str]]) -> Iterator[tuple[int, dict[str, str]]]:
    yield from answers
    while True:
        yield 200, {}


def serve_flaky(server: WebServer, *answers: tuple[int, dict[str, str]]) -> str:
    coming = flaky(*answers)

    def do(request: BaseHTTPRequestHandler) -> None:
        status, headers = next(coming)
        answer(request, b"content" if status == 200 else b"busy", status, **headers)

    return server.serve_by("/a.jpg", do)


def test_pauses_grow_and_differ(server: WebServer) -> None:
    pauses = Pauses()
    random.seed(1)
    policy = WebPolicy(private_addresses=True, retries=12)
    assert read(serve_flaky(server, *[(503, {})] * 12), policy=policy, pauses=pauses) == b"content"
    assert all(0.25 * 2**number <= pause <= 0.5 * 2**number for number, pause in enumerate(pauses[:6]))
    assert max(pauses) <= 30
    assert len(set(pauses)) == 12


def test_a_server_that_asks_for_time_gets_it(server: WebServer) -> None:
    later = email.utils.formatdate(time.time() + 20, usegmt=True)
    asked = ["7", later, "999999999", "-5", "soon"]
    pauses = Pauses()
    url = serve_flaky(server, *((429, {"Retry_After": text}) for text in asked))
    assert read(url, policy=WebPolicy(private_addresses=True, retries=5), pauses=pauses) == b"content"
    assert 7 < pauses[0] < 8
    assert 15 < pauses[1] < 22
    assert 60 < pauses[2] < 63
    assert pauses[3] < 5
    assert pauses[4] < 9


# What it does instead


def test_a_server_that_says_nothing(server: WebServer) -> None:
    url = server.serve_by("/a.jpg", lambda _: server.stopping.wait(30))
    assert outcome(url, HASTY) == (ErrorKind.DOWNLOAD_FAILED, "no data for 0.2 s (tried once)")


def test_a_server_that_falls_silent(server: WebServer) -> None:
    def do(request: BaseHTTPRequestHandler) -> None:
        answer(request, b"begin", Content_Length="1000")
        server.stopping.wait(30)

    url = server.serve_by("/a.jpg", do)
    assert outcome(url, HASTY) == (ErrorKind.DOWNLOAD_FAILED, "no data for 0.2 s (tried once)")


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_server_that_sends_a_byte_at_a_time(server: WebServer, part: str) -> None:
    def do(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: " if part == "header" else b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.stopping.wait(0.05):
            request.wfile.write(b"x")

    url = server.serve_by("/a.jpg", do)
    assert outcome(url, HASTY) == (ErrorKind.DOWNLOAD_FAILED, "it took longer than 0.5 s (tried once)")


def test_the_clock_starts_again_with_each_try(server: WebServer) -> None:
    dawdles = iter([True, True, False])

    def do(request: BaseHTTPRequestHandler) -> None:
        if next(dawdles):
            server.stopping.wait(0.4)
            request.close_connection = True
        else:
            answer(request, b"content")

    policy = WebPolicy(private_addresses=True, timeout_s=0.3, total_s=0.5, retries=2)
    assert read(server.serve_by("/a.jpg", do), policy=policy) == b"content"


def test_a_connection_that_breaks_off(server: WebServer) -> None:
    def do(request: BaseHTTPRequestHandler) -> None:
        answer(request, b"0123456789", Content_Length="1000")
        request.close_connection = True

    kind, message = outcome(server.serve_by("/a.jpg", do))
    assert kind is ErrorKind.DOWNLOAD_FAILED
    assert "broke off" in message
    assert "tried 3 times" in message


def test_more_than_was_announced_is_not_taken_for_the_next_answer(server: WebServer) -> None:
    reader = WebReader(LOCAL)
    long = server.serve("/long", b"0123456789" * 10_000, Content_Length="10")
    url = server.serve("/a.jpg", b"content")
    for _ in range(3):
        assert reader.read(long, CAP) == b"0123456789"
        assert reader.read(url, CAP) == b"content"
    reader.close()


@pytest.mark.parametrize(
    "raw",
    [b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nx"],
)
def test_what_is_no_http(server: WebServer, raw: bytes) -> None:
    def do(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(raw)
        request.close_connection = True

    kind, message = outcome(server.serve_by("/a.jpg", do))
    assert kind is ErrorKind.DOWNLOAD_FAILED
    assert "tried 3 times" in message


def test_odd_headers_are_no_reason_to_log_the_address(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nno colon\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    server.serve_by("/a.jpg", lambda request: request.wfile.write(raw))
    read(server.url(f"/a.jpg?token={SECRET}"))
    assert SECRET not in caplog.text


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        kind, message = outcome(f"http://127.0.0.1:{taken.getsockname()[1]}/a.jpg")
    assert kind is ErrorKind.DOWNLOAD_FAILED
    assert message == "no connection: Connection refused (tried 3 times)"


def test_a_host_that_does_not_exist_is_not_tried_again() -> None:
    with patch("socket.getaddrinfo", side_effect=socket.gaierror(socket.EAI_NONAME, "unknown")):
        kind, message = outcome("http://nowhere.example/a.jpg")
    assert (kind, message) == (ErrorKind.DOWNLOAD_FAILED, "its host's address can't be looked up (tried once)")


def test_a_busy_name_server_is_asked_again(server: WebServer) -> None:
    url = server.serve("/a.jpg", b"content")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    answers = [socket.gaierror(socket.EAI_AGAIN, "busy"), found, found]
    with patch("socket.getaddrinfo", side_effect=answers):
        assert read(url.replace("127.0.0.1", "images.example")) == b"content"


# Size


def test_the_byte_cap_is_exact(server: WebServer) -> None:
    url = server.serve("/a.jpg", bytes(1000))
    assert read(url, 1000) == bytes(1000)
    assert error_of(url, 999).kind is ErrorKind.TOO_MANY_BYTES


def test_what_announces_too_much_is_not_read(server: WebServer) -> None:
    def do(request: BaseHTTPRequestHandler) -> None:
        answer(request, Content_Length="1001")
        server.stopping.wait(30)

    error = error_of(server.serve_by("/a.jpg", do), 1000)
    assert error.kind is ErrorKind.TOO_MANY_BYTES
    assert "1,001 bytes" in str(error)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end(server: WebServer, chunked: bool) -> None:
    def do(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"Transfer-Encoding: chunked\r\n" * chunked + b"\r\n")
        piece = b"1000\r\n" + bytes(0x1000) + b"\r\n" if chunked else bytes(0x1000)
        while not server.stopping.is_set():
            request.wfile.write(piece)

    assert error_of(server.serve_by("/a.jpg", do), 50_000).kind is ErrorKind.TOO_MANY_BYTES


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


@pytest.mark.parametrize(
    ("name", "squeeze"), [("gzip", gzip.compress), ("Deflate", zlib.compress), ("deflate", raw_deflate)]
)
def test_an_encoding_that_nobody_asked_for(server: WebServer, name: str, squeeze: object) -> None:
    assert callable(squeeze)
    url = server.serve("/a.jpg", squeeze(b"content" * 100), Content_Encoding=name)
    assert read(url, 700) == b"content" * 100
    assert error_of(url, 699).kind is ErrorKind.TOO_MANY_BYTES


def test_a_body_that_expands_to_a_lot(server: WebServer) -> None:
    url = server.serve("/a.jpg", gzip.compress(bytes(100_000_000)), Content_Encoding="gzip")
    tracemalloc.start()
    error = error_of(url)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.kind is ErrorKind.TOO_MANY_BYTES
    assert peak_bytes < 8 << 20


def test_encodings_that_are_unknown_or_damaged(server: WebServer) -> None:
    unknown = server.serve("/br", b"x", Content_Encoding="br")
    assert "encoding that wasn't asked for ('br') (tried once)" in outcome(unknown)[1]
    damaged = server.serve("/cut", gzip.compress(b"content")[:-9], Content_Encoding="gzip")
    assert outcome(damaged) == (ErrorKind.DOWNLOAD_FAILED, "its gzip encoding is damaged or cut off (tried 3 times)")


# Where it leads


def serve_chain(server: WebServer, redirects: int) -> str:
    for number in range(redirects):
        server.serve(f"/{number}", b"moved", status=(301, 302, 303, 307, 308)[number % 5], Location=str(number + 1))
    server.serve(f"/{redirects}", b"content")
    return server.url("/0")


def test_redirects_are_followed_up_to_a_limit(server: WebServer) -> None:
    assert read(serve_chain(server, 5)) == b"content"
    assert outcome(serve_chain(server, 6)) == (ErrorKind.REFUSED, "more than 5 redirects")
    assert outcome(serve_chain(server, 1), WebPolicy(private_addresses=True, max_redirects=0))[0] is ErrorKind.REFUSED


def test_a_redirect_to_itself(server: WebServer) -> None:
    assert error_of(server.serve("/a", status=302, Location="/a")).kind is ErrorKind.REFUSED


@pytest.mark.parametrize(
    "target",
    ["ftp://127.0.0.1/a", "file:///etc/passwd", "gopher://x", "http://me:pw@127.0.0.1/a", "http://[::", "data:,x"],
)
def test_redirects_that_are_not_followed(server: WebServer, target: str) -> None:
    kind, message = outcome(server.serve("/a", status=302, Location=target))
    assert kind is ErrorKind.REFUSED
    assert "pw" not in message


def test_a_redirect_without_a_target(server: WebServer) -> None:
    assert outcome(server.serve("/a", status=302))[0] is ErrorKind.DOWNLOAD_FAILED
    assert len(server.requests) == 1


PRIVATE_HOSTS = [
    *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "[::1]", "[::]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "127.0.0.1."),
    *("169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1"),
    *("224.0.0.1", "255.255.255.255", "240.0.0.1"),
]


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_private_addresses_are_refused(server: WebServer, host: str) -> None:
    url = server.serve("/a.jpg", b"content").replace("127.0.0.1", host)
    error = error_of(url, policy=WebPolicy())
    assert error.kind is ErrorKind.REFUSED
    assert "private" in str(error)
    assert not server.requests


@pytest.mark.usefixtures("_public_loopback")
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://127.0.0.2:{port}/a", "https://[::1]/"])
def test_a_redirect_to_a_private_address_is_refused(server: WebServer, target: str) -> None:
    with web_server("127.0.0.2", server.port) as inside:
        inside.serve("/a", b"inside")
        error = error_of(server.serve("/a", status=302, Location=target.format(port=server.port)), policy=WebPolicy())
        assert error.kind is ErrorKind.REFUSED
        assert len(server.requests) == 1
        assert not inside.requests


@pytest.mark.usefixtures("_public_loopback")
def test_what_is_checked_is_what_is_connected_to(server: WebServer) -> None:
    """A name that leads outside when it is checked, and inside when it is used."""
    server.serve("/a.jpg", b"outside")
    answers = [
        [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port))] for host in ("127.0.0.1", "127.0.0.2")
    ]
    with web_server("127.0.0.2", server.port) as inside:
        inside.serve("/a.jpg", b"inside")
        lookups = iter(answers)
        real = socket.getaddrinfo

        def rebinding(host: str, *args: object, **kwargs: object) -> object:
            return next(lookups) if host == "rebinding.example" else real(host, *args, **kwargs)  # type: ignore[arg-type]

        with patch("socket.getaddrinfo", rebinding):
            url = server.url("/a.jpg", "rebinding.example")
            assert read(url, policy=WebPolicy()) == b"outside"
            assert error_of(url, policy=WebPolicy()).kind is ErrorKind.REFUSED
        assert not inside.requests


@pytest.mark.usefixtures("_public_loopback")
def test_of_several_addresses_only_public_ones_are_tried(server: WebServer) -> None:
    url = server.serve("/a.jpg", b"outside").replace("127.0.0.1", "mixed.example")
    real = socket.getaddrinfo
    mixed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port)) for host in ("127.0.0.2", "127.0.0.1")]
    with (
        web_server("127.0.0.2", server.port) as inside,
        patch("socket.getaddrinfo", lambda host, *args, **kw: mixed if "mixed" in host else real(host, *args, **kw)),
    ):
        assert read(url, policy=WebPolicy()) == b"outside"
        assert not inside.requests


@pytest.mark.usefixtures("_public_loopback")
def test_a_certificate_is_for_the_name_and_not_for_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = write_certificate(tmp_path / "server.pem", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with web_server(certificate=certificate) as server:
        server.serve("/a.jpg", b"content")
        assert read(server.url("/a.jpg", "localhost"), policy=WebPolicy(retries=0)) == b"content"
        kind, message = outcome(server.url("/a.jpg"), WebPolicy())
        assert kind is ErrorKind.DOWNLOAD_FAILED
        assert "certificate is not valid" in message
        assert "tried once" in message


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path / "server.pem", "127.0.0.1")
    with web_server(certificate=certificate) as server:
        assert "certificate is not valid" in outcome(server.serve("/a.jpg", b"content"))[1]
        assert not server.requests


def test_no_tls_where_tls_is_expected(server: WebServer) -> None:
    kind, message = outcome(server.serve("/a.jpg", b"content").replace("http:", "https:"))
    assert kind is ErrorKind.DOWNLOAD_FAILED
    assert "TLS failed" in message


# What is no address


@pytest.mark.parametrize("url", ["http://me:pw@example.org/a", "https://pw@example.org/a", "http://me:pw@:80/"])
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    error = error_of(url)
    assert error.kind in (ErrorKind.REFUSED, ErrorKind.BAD_REFERENCE)
    assert "pw" not in str(error)


@pytest.mark.parametrize(
    "url", ["http://", "http:///a", "https://[::1", "http://a b/c", "http://x:99999/", "http://x:a/", "ftp://x/y", "x"]
)
def test_addresses_that_are_none(url: str) -> None:
    assert error_of(url).kind is ErrorKind.BAD_REFERENCE


ODD = st.text(st.sampled_from("ab.:/@[]%?#\\ \t\n\x00\x7f\u00e9\u3002\udc80-0x7"), max_size=20)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["http://", "https://", "HTTP://", "http:/", "http:"]), ODD)
def test_odd_addresses_end_as_errors(scheme: str, rest: str) -> None:
    with (
        patch("socket.getaddrinfo", side_effect=socket.gaierror(socket.EAI_NONAME, "unknown")),
        pytest.raises(ImageError),
    ):
        read(scheme + rest)

"""Images by their addresses: files, object stores and the web through one reader."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.locations import LocationReader
from caption_core.archive.sources.options import InputOptions, WebPolicy
from caption_core.errors import ImageError
from caption_core.records import ErrorKind
from tests.builders import write_file
from tests.s3_server import S3Server
from tests.web_server import web_server

CAP = 1 << 20
OPTIONS = InputOptions(web=WebPolicy(private_addresses=True, timeout_s=5, retries=0))


@pytest.fixture
def reader() -> Iterator[LocationReader]:
    reader = LocationReader(OPTIONS)
    yield reader
    reader.close()


def error_of(uri: str, max_bytes: int = CAP, within: Path | None = None, options: InputOptions = OPTIONS) -> ImageError:
    reader = LocationReader(options)
    with pytest.raises(ImageError) as caught:
        reader.read(uri, max_bytes, within)
    reader.close()
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def kind_of(uri: str, max_bytes: int = CAP, within: Path | None = None) -> ErrorKind:
    return error_of(uri, max_bytes, within).kind


# This machine's files


def test_a_path_and_a_file_address_name_the_same_file(reader: LocationReader, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a b%20é#?.jpg", b"content")
    assert reader.read(str(path), CAP) == b"content"
    assert reader.read(path.as_uri(), CAP) == b"content"
    assert reader.read(path.as_uri().replace("file:///", "file://localhost/"), CAP) == b"content"
    assert reader.read(path.as_uri().replace("file:///", "FILE:/"), CAP) == b"content"


def test_a_name_that_is_not_utf8(reader: LocationReader, tmp_path: Path) -> None:
    path = write_file(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")), b"content")
    assert reader.read(str(path), CAP) == b"content"
    assert reader.read(f"file://{tmp_path}/caf%E9.jpg", CAP) == b"content"


def test_local_files_fail_with_their_kind(tmp_path: Path) -> None:
    write_file(tmp_path / "empty.jpg", b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    assert kind_of(f"{tmp_path}/none.jpg") is ErrorKind.NOT_FOUND
    assert kind_of(f"{tmp_path}/empty.jpg") is ErrorKind.EMPTY
    assert kind_of(f"{tmp_path}/folder.jpg") is ErrorKind.UNREADABLE
    assert kind_of(f"{tmp_path}/itself.jpg") is ErrorKind.UNREADABLE
    assert kind_of(f"{tmp_path}/empty.jpg/inside.jpg") is ErrorKind.UNREADABLE
    assert kind_of(str(write_file(tmp_path / "a.jpg", bytes(10))), 9) is ErrorKind.TOO_MANY_BYTES
    os.mkfifo(tmp_path / "pipe.jpg")
    assert kind_of(f"{tmp_path}/pipe.jpg") is ErrorKind.UNREADABLE


@pytest.mark.parametrize(
    "uri",
    [
        *("", "a.jpg", "./a.jpg", "../a.jpg", "file://elsewhere/a.jpg", "file:a.jpg", "file://", "/a\0.jpg"),
        *("file:///a%00.jpg", "ftp://example.org/a.jpg", "data:image/png;base64,AAAA", "javascript:x", "C:\\a.jpg"),
        *("s3:/a", "://", "://a"),
    ],
)
def test_what_names_no_image(uri: str) -> None:
    assert kind_of(uri) is ErrorKind.BAD_REFERENCE


def test_within_a_folder(reader: LocationReader, tmp_path: Path) -> None:
    inside, outside = write_file(tmp_path / "in" / "sub" / "a.jpg", b"inside"), write_file(tmp_path / "b.jpg", b"out")
    within = tmp_path / "in"
    assert reader.read(str(inside), CAP, within) == b"inside"
    assert reader.read(f"{within}/sub/../sub/a.jpg", CAP, within) == b"inside"
    for uri in (str(outside), f"{within}/../b.jpg", outside.as_uri(), f"file://{within}/%2E%2E/b.jpg", "/etc/passwd"):
        assert kind_of(uri, within=within) is ErrorKind.REFUSED
    assert kind_of(f"{within}/../nowhere.jpg", within=within) is ErrorKind.REFUSED
    assert kind_of(str(within), within=within) is ErrorKind.REFUSED
    assert kind_of(f"{within}/nowhere.jpg", within=within) is ErrorKind.NOT_FOUND


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert kind_of(str(write_file(tmp_path / "input" / "a.jpg", b"x")), within=tmp_path / "in") is ErrorKind.REFUSED


def test_links_out_of_a_folder(tmp_path: Path) -> None:
    outside = write_file(tmp_path / "elsewhere" / "a.jpg", b"outside")
    within = tmp_path / "in"
    write_file(within / "real.jpg", b"inside")
    (within / "out.jpg").symlink_to(outside)
    (within / "folder").symlink_to(tmp_path / "elsewhere")
    (within / "same.jpg").symlink_to("real.jpg")
    (tmp_path / "link").symlink_to("in")
    following = LocationReader(InputOptions(follow_links=True))
    for name in ("out.jpg", "folder/a.jpg"):
        assert kind_of(f"{within}/{name}", within=within) is ErrorKind.REFUSED
        assert following.read(f"{within}/{name}", CAP, within) == b"outside"
        assert following.read(f"{tmp_path}/link/{name}", CAP, tmp_path / "link") == b"outside"
    for root in (within, tmp_path / "link"):
        assert LocationReader(OPTIONS).read(f"{root}/same.jpg", CAP, within) == b"inside"


def test_following_links_is_no_way_around_the_folder(tmp_path: Path) -> None:
    outside = write_file(tmp_path / "b.jpg", b"outside")
    write_file(tmp_path / "elsewhere" / "c.jpg", b"outside").with_name("deep").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "elsewhere" / "deep")
    options = InputOptions(follow_links=True)
    for uri in (str(outside), f"{tmp_path}/in/../b.jpg"):
        assert error_of(uri, within=tmp_path / "in", options=options).kind is ErrorKind.REFUSED
    # As written this is in/c.jpg, as links go it is elsewhere/c.jpg; what is opened is what was checked.
    tricky = f"{tmp_path}/in/folder/../c.jpg"
    assert error_of(tricky, within=tmp_path / "in", options=options).kind is ErrorKind.NOT_FOUND


PARTS = st.lists(st.sampled_from(["..", ".", "", "a", "out", "up", "b.jpg"]), max_size=6)


@settings(max_examples=100, deadline=None)
@given(PARTS)
def test_no_path_leaves_its_folder(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "no-path"
    if not root.exists():
        write_file(root / "b.jpg", b"outside")
        write_file(root / "in" / "a" / "b.jpg", b"inside")
        (root / "in" / "out").symlink_to(root)
        (root / "in" / "a" / "up").symlink_to("..")
    try:
        data = LocationReader(OPTIONS).read("/".join([str(root / "in"), *parts]), CAP, root / "in")
    except ImageError:
        return
    assert data == b"inside"


# Object stores


def test_an_object_is_read_whatever_its_key(reader: LocationReader, s3: S3Server) -> None:
    for key in ("a.jpg", "deep/er/b.jpg", "a b%20é#?.jpg", "photo.jpg?w=300&h=200", "a+b=c.jpg"):
        assert reader.read(s3.put(key, key.encode()), CAP) == key.encode()


def test_objects_fail_with_their_kind(s3: S3Server) -> None:
    s3.put("empty.jpg", b"")
    locked = s3.new_bucket()
    denied = locked.put("denied.jpg", b"x")
    locked.deny()
    assert kind_of(f"{s3.address}/none.jpg") is ErrorKind.NOT_FOUND
    assert kind_of(f"s3://no-such-bucket-{uuid4()}/a.jpg") is ErrorKind.NOT_FOUND
    assert kind_of(f"{s3.address}/empty.jpg") is ErrorKind.EMPTY
    assert kind_of(s3.put("a.jpg", bytes(10)), 9) is ErrorKind.TOO_MANY_BYTES
    assert kind_of(denied) is ErrorKind.UNREADABLE
    assert kind_of(s3.put("a//b.jpg", b"x")) is ErrorKind.UNREADABLE
    for uri in (s3.address, f"{s3.address}/", f"{s3.address}/folder/"):
        assert kind_of(uri) is ErrorKind.BAD_REFERENCE


def test_an_object_that_is_too_large_is_not_read(s3: S3Server) -> None:
    uri = s3.put("large.jpg", bytes(20_000_000))
    tracemalloc.start()
    error = error_of(uri)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.kind is ErrorKind.TOO_MANY_BYTES
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("uri", ["s3://key:topsecret@bucket/a.jpg", "s3://bucket?endpoint_override=topsecret/a.jpg"])
def test_an_address_of_an_object_holds_a_place_and_nothing_else(uri: str) -> None:
    error = error_of(uri)
    assert error.kind is ErrorKind.REFUSED
    assert "topsecret" not in str(error)


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("uri", ["s3://", "s3:///a.jpg", "s3://bad bucket/a.jpg", "s3://é/a.jpg"])
def test_addresses_of_no_store(uri: str) -> None:
    assert kind_of(uri) in (ErrorKind.BAD_REFERENCE, ErrorKind.REFUSED)


def test_many_threads_share_a_reader(reader: LocationReader, s3: S3Server, tmp_path: Path) -> None:
    uris = [s3.put(f"{number}.jpg", b"%d" % number) for number in range(10)]
    uris += [str(write_file(tmp_path / f"{number}.jpg", b"%d" % number)) for number in range(10, 20)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda uri: reader.read(uri, CAP), uris)) == [b"%d" % number for number in range(20)]


# The web


def test_the_web_is_read_by_its_policy(reader: LocationReader) -> None:
    with web_server() as server:
        url = server.serve("/a.jpg", b"content")
        assert reader.read(url, CAP) == b"content"
        assert reader.read(url.replace("http:", "HTTP:"), CAP) == b"content"
        assert kind_of(server.url("/none.jpg")) is ErrorKind.NOT_FOUND
        assert error_of(url, options=InputOptions()).kind is ErrorKind.REFUSED


def test_what_reads_no_web_loads_no_web_library(tmp_path: Path) -> None:
    write_file(tmp_path / "a.jpg", b"x")
    script = (
        "import sys; from caption_core.archive.sources.locations import LocationReader as R; "
        "from caption_core.archive.sources.options import InputOptions; "
        f"R(InputOptions()).read({str(tmp_path / 'a.jpg')!r}, 9); print('urllib3' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_closing_twice_and_without_use() -> None:
    reader = LocationReader(OPTIONS)
    reader.close()
    reader.close()

"""Where paths and addresses lead, and what is refused."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caption_core.archive.sources.manifest_paths import (
    PathRules,
    Target,
    has_credentials,
    path_text,
    without_credentials,
)
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

OPEN = PathRules("/lists/my photos")
CLOSED = PathRules("/photos", is_closed=True)
REMOTE = PathRules("s3://bucket/lists")


def refusal(rules: PathRules, written: str) -> tuple[ErrorKind, str]:
    with pytest.raises(ImageError) as caught:
        rules.resolve(written)
    return caught.value.kind, str(caught.value)


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("a.jpg", "file:///lists/my%20photos/a.jpg"),
        ("a/../b c/./ä.jpg", "file:///lists/my%20photos/a/../b%20c/./%C3%A4.jpg"),
        ("...jpg", "file:///lists/my%20photos/...jpg"),
        (r"caf\xe9.jpg", "file:///lists/my%20photos/caf%E9.jpg"),
        ("C:\\a.jpg", "file:///lists/my%20photos/C%3A%5Ca.jpg"),
    ],
)
def test_relative_paths_lie_in_the_folder(written: str, uri: str) -> None:
    assert OPEN.resolve(written) == Target(uri, Path("/lists/my photos"))


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("/x/a b.jpg", "file:///x/a%20b.jpg"),
        ("file:///x/a%20b.jpg", "file:///x/a%20b.jpg"),
        ("FILE://localhost/x/%E9", "file:///x/%E9"),
        ("file:/x", "file:///x"),
        ("file:///x/a@b:c", "file:///x/a%40b%3Ac"),
        ("http://h/a b?c=d#e", "http://h/a b?c=d#e"),
        ("HTTPS://H/a", "https://H/a"),
        ("http://h:8080/@me/a.jpg", "http://h:8080/@me/a.jpg"),
        ("http://[::1]:80/@me/a.jpg", "http://[::1]:80/@me/a.jpg"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("hdfs://host:9000/a", "hdfs://host:9000/a"),
        ("abfss://container@account/a", "abfss://container@account/a"),
        ("gs://anonymous@bucket/a", "gs://anonymous@bucket/a"),
    ],
)
def test_absolute_paths_and_addresses_lead_where_they_say(written: str, uri: str) -> None:
    assert OPEN.resolve(written) == Target(uri)
    assert REMOTE.resolve(written) == Target(uri)


def test_paths_in_a_remote_manifest_lie_beside_it() -> None:
    assert REMOTE.resolve("a/b c%20.jpg") == Target("s3://bucket/lists/a/b c%20.jpg")
    assert REMOTE.resolve("a/../../lists/b.jpg".removeprefix("a/../../lists/")) == Target("s3://bucket/lists/b.jpg")
    assert REMOTE.resolve("a/../b.jpg") == Target("s3://bucket/lists/b.jpg")
    for written in ("../b.jpg", "a/../../b.jpg", "a/../../lists/b.jpg", ".."):
        assert refusal(REMOTE, written) == (ErrorKind.REFUSED, "a path that leads out of the manifest's folder")


@pytest.mark.parametrize("written", ["../a.jpg", "a/../../b.jpg", "..", ".", "a/../../my photos 2/b.jpg"])
def test_relative_paths_may_not_leave_the_folder(written: str) -> None:
    assert refusal(OPEN, written) == (ErrorKind.REFUSED, "a path that leads out of the manifest's folder")


@pytest.mark.parametrize("written", ["../a.jpg", "/photos2/a.jpg", "/etc/passwd", "file:///photos/../a", "/photos"])
def test_nothing_may_leave_a_closed_folder(written: str) -> None:
    assert refusal(CLOSED, written) == (ErrorKind.REFUSED, "a path that leads out of the image root")


@pytest.mark.parametrize("written", ["http://h/a", "s3://b/a", "https://h/photos/a.jpg"])
def test_no_address_is_in_a_closed_folder(written: str) -> None:
    assert refusal(CLOSED, written)[0] is ErrorKind.REFUSED


def test_absolute_paths_into_a_closed_folder_are_read_there() -> None:
    assert CLOSED.resolve("/photos/a.jpg") == Target("file:///photos/a.jpg", Path("/photos"))
    assert CLOSED.resolve("file:///photos/a.jpg") == Target("file:///photos/a.jpg", Path("/photos"))


@pytest.mark.parametrize(
    ("written", "cause"),
    [
        ("ftp://h/a", "addresses that begin with ftp: can't be read"),
        ("data:image/png;base64,AAAA", "addresses that begin with data: can't be read"),
        ("file://h/a", "a file address of another machine"),
        ("file:a", "a file address without an absolute path"),
        ("file:///a%00b", "a zero byte in the path"),
        ("a\0b", "a zero byte in the path"),
        ("http://h/a\0b", "a zero byte in the path"),
    ],
)
def test_what_leads_nowhere_is_a_bad_reference(written: str, cause: str) -> None:
    for rules in (OPEN, CLOSED, REMOTE):
        assert refusal(rules, written) == (ErrorKind.BAD_REFERENCE, cause)


SECRETS = [
    "http://user:secret@h/a.jpg",
    "https://secret@h/a.jpg",
    "s3://KEY:secret/with/slashes@bucket/a.jpg",
    "ftp://user:secret@h/a.jpg",
    "http://user:secret@h@h2/a@b.jpg",
    "http://a\\@secret@h/",
    "file://user:secret@h/a",
    "abfss://container:secret@account/a",
    "gs://secret@bucket/a",
    "http://user:secret?@h/a",
    "s3://KEY:secret/a.jpg",
    "gs://KEY:9000secret",
    "abfss://container:secret",
]


@pytest.mark.parametrize("written", SECRETS)
def test_secrets_are_refused_and_not_repeated(written: str) -> None:
    kind, message = refusal(OPEN, written)
    assert kind is ErrorKind.REFUSED
    assert "secret" not in message
    assert "secret" not in without_credentials(written)
    assert without_credentials(written).startswith(written.partition("://")[0] + "://***")


@given(st.text(), st.text(), st.sampled_from(["http", "s3", "ftp", "x+y"]))
def test_no_user_and_password_gets_through(user: str, rest: str, scheme: str) -> None:
    written = f"{scheme}://{user.translate({ord(c): '_' for c in '/?#'})}:topsecret@{rest}"
    assert has_credentials(written)
    assert "topsecret" not in without_credentials(written).replace(rest.rpartition("@")[2], "")


def test_addresses_without_secrets_stay_as_they_are() -> None:
    for written in ("http://h/a@b", "a@b:c", "/a@b", "s3://b/x:y"):
        assert without_credentials(written) == written


@given(st.lists(st.binary(min_size=1), min_size=1).map(b"/".join))
def test_any_name_of_a_file_survives(name: bytes) -> None:
    assume(not set(b"\0:") & set(name) and not name.startswith(b"/"))
    assume(b".." not in name.split(b"/") and set(name.split(b"/")) - {b"", b"."})
    uri = PathRules("/b").resolve(path_text(name, any_bytes=True)).uri
    assert unquote_to_bytes(uri) == b"file:///b/" + name


def test_what_is_not_utf8_is_no_address_and_no_text() -> None:
    assert path_text(b"caf\xe9", any_bytes=True) == r"caf\xe9"
    assert path_text(rb"caf\xe9", any_bytes=False) == r"caf\x5cxe9"
    assert path_text(rb"http://h/\xe9", any_bytes=False) == r"http://h/\xe9"
    for name, any_bytes in ((b"caf\xe9", False), (b"http://h/caf\xe9", True)):
        with pytest.raises(ImageError, match="it is not UTF-8"):
            path_text(name, any_bytes=any_bytes)

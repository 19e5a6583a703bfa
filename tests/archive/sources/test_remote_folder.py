"""A prefix of an object store as an archive."""

from __future__ import annotations

import pickle
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from caption_core.archive.refs import REF_SCHEMA, batch_to_refs
from caption_core.archive.sources import remote_folder
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.remote_folder import RemoteFolder, list_matching
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef
from tests.s3_server import S3Server

CAP = 1 << 20
OPTIONS = InputOptions()


def put_all(s3: S3Server, *names: str) -> str:
    """Write objects under a prefix of their own; returns its address."""
    prefix = str(uuid4())
    for name in names:
        s3.put(f"{prefix}/{name}", b"" if name.endswith("/") else name.encode())
    return f"{s3.address}/{prefix}"


def refs_of(source: RemoteFolder) -> list[ImageRef]:
    return [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]


def listed(location: str, pattern: str | None = None) -> list[str]:
    return [ref.image_id for ref in refs_of(RemoteFolder.at(location, OPTIONS, pattern))]


def read(source: RemoteFolder, ref: ImageRef, max_bytes: int = CAP) -> bytes | ImageError:
    reader = source.open_reader()
    reader.begin([ref])
    image = reader.read(ref, max_bytes)
    reader.close()
    assert not image.carried
    return image.data


def test_images_are_found_by_extension_in_any_case_and_depth(s3: S3Server) -> None:
    images = ["B.JPEG", "a.jpg", "sub/deep/er/i.Png", "sub/x.webp", "z.avif"]
    location = put_all(s3, *images, "notes.txt", "jpg", "a.jpg.bak", "archive.tar", "marker/", "sub/")
    assert listed(location) == images
    assert listed(f"{location}/") == images
    assert listed(f"{location}/sub") == ["deep/er/i.Png", "x.webp"]


def test_a_reference_tells_size_and_address(s3: S3Server) -> None:
    location = put_all(s3, "sub/a b%20é#?.jpg")
    (batch,) = RemoteFolder.at(location, OPTIONS).list_refs()
    assert batch.schema == REF_SCHEMA
    (ref,) = batch_to_refs(batch)
    name = "sub/a b%20é#?.jpg"
    assert ref == ImageRef(name, f"{location}/{name}", len(name.encode()))


def test_a_whole_bucket(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    bucket.put("b/a.jpg", b"x")
    bucket.put("a.jpg", b"x")
    address = bucket.address
    for location in (address, f"{address}/"):
        source = RemoteFolder.at(location, OPTIONS)
        assert [ref.uri for ref in refs_of(source)] == [f"{address}/a.jpg", f"{address}/b/a.jpg"]
        assert source.locations() == [address]


def test_what_is_hidden_is_left_out(s3: S3Server) -> None:
    location = put_all(s3, ".hidden.jpg", ".thumbnails/a.jpg", "sub/.b.jpg", "_c.jpg", "_sub/d.jpg")
    assert listed(location) == ["_c.jpg", "_sub/d.jpg"]


def test_a_prefix_that_is_named_as_an_image_is_entered_and_no_image(s3: S3Server) -> None:
    assert listed(put_all(s3, "a.jpg", "a.jpg/b.jpg", "c.jpg/d.jpg")) == ["a.jpg", "a.jpg/b.jpg", "c.jpg/d.jpg"]


def test_a_neighbour_with_the_same_beginning_is_not_listed(s3: S3Server) -> None:
    location = put_all(s3, "in/a.jpg", "input/b.jpg", "in.jpg")
    assert listed(f"{location}/in") == ["a.jpg"]


def test_names_with_an_empty_part_are_rows_that_say_so(s3: S3Server) -> None:
    location = put_all(s3, "a/b.jpg", "a//c.jpg", "a//d/e.jpg", "a//.f.jpg", "a//notes.txt", "g.jpg", "h//")
    source = RemoteFolder.at(location, OPTIONS)
    assert [ref.image_id for ref in refs_of(source)] == ["a//c.jpg", "a//d/e.jpg", "a/b.jpg", "g.jpg"]
    outcomes = [read(source, ref) for ref in refs_of(source)]
    assert [outcome.kind for outcome in outcomes if isinstance(outcome, ImageError)] == [ErrorKind.UNREADABLE] * 2
    assert outcomes[2:] == [b"a/b.jpg", b"g.jpg"]


SEGMENTS = st.text(st.sampled_from("abZ!.-_~é\U0001f422\uff5e#% 0"), min_size=1, max_size=3).filter(
    lambda name: name.strip(".")
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6))
def test_order_is_that_of_the_paths_bytes_and_everything_is_read(s3: S3Server, names: set[str]) -> None:
    files = sorted((f"{name}.png" for name in names), key=str.encode)
    location = put_all(s3, *files)
    expected = [name for name in files if not any(part.startswith(".") for part in name.split("/"))]
    source = RemoteFolder.at(location, OPTIONS)
    refs = refs_of(source)
    assert [ref.image_id for ref in refs] == expected
    assert [read(source, ref) for ref in refs[:3]] == [name.encode() for name in expected[:3]]


def test_a_pattern_narrows_what_is_listed(s3: S3Server) -> None:
    location = put_all(s3, "a.jpg", "2019-05/b.JPG", "2019-05/b.txt", "2019-05/x/c.jpg", "2020/d.jpg")
    assert listed(location, "2019-*/**") == ["2019-05/b.JPG", "2019-05/x/c.jpg"]
    assert listed(location, "**/*.jpg") == ["2019-05/x/c.jpg", "2020/d.jpg", "a.jpg"]
    assert listed(location, "*.txt") == []


def test_folders_that_no_pattern_leads_to_are_not_listed(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    location = put_all(s3, "2019/x/a.jpg", "2020/x/b.jpg", "2020/y/z/c.jpg")
    asked: list[str] = []
    listed_by_store = remote_folder._listed

    def noted(store: fs.FileSystem, folder: str) -> dict[str, int]:
        asked.append(folder)
        return listed_by_store(store, folder)

    monkeypatch.setattr(remote_folder, "_listed", noted)
    assert listed(location, "2020/*/*.jpg") == ["2020/x/b.jpg"]
    top = location.removeprefix("s3://")
    assert asked == [top, f"{top}/2020", f"{top}/2020/x", f"{top}/2020/y"]


def test_archives_that_match(s3: S3Server) -> None:
    location = put_all(s3, "b/1.tar", "a/2.tar", "a/.3.tar", "a/4.tar.gz", "5.tar", "a/6.jpg")
    assert list(list_matching(location, OPTIONS, "*/*.tar")) == [
        ("a/2.tar", f"{location}/a/2.tar"),
        ("b/1.tar", f"{location}/b/1.tar"),
    ]


def test_an_image_that_went_away_or_is_too_large(s3: S3Server) -> None:
    source = RemoteFolder.at(put_all(s3, "a.jpg"), OPTIONS)
    (ref,) = refs_of(source)
    too_large = read(source, ref, 3)
    gone = read(source, ImageRef("b.jpg", f"{source.location}/b.jpg"))
    assert isinstance(too_large, ImageError)
    assert isinstance(gone, ImageError)
    assert (too_large.kind, gone.kind) == (ErrorKind.TOO_MANY_BYTES, ErrorKind.NOT_FOUND)


def test_nothing_is_carried_and_copies_are_equal(s3: S3Server) -> None:
    source = RemoteFolder.at(put_all(s3, "a.jpg"), OPTIONS, "*.jpg")
    assert source.carried() == pa.schema([])
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert refs_of(copy) == refs_of(source)


@pytest.mark.slow
def test_more_than_one_page_of_a_listing(s3: S3Server) -> None:
    names = [f"{number:04d}.jpg" for number in range(1005)]
    assert listed(put_all(s3, *names)) == names


def test_what_cannot_be_listed_is_wrong_usage(s3: S3Server) -> None:
    image = f"{put_all(s3, 'a.jpg')}/a.jpg"
    denied = s3.new_bucket()
    denied.deny()
    for location, words in [
        (f"{s3.address}/nothing/here", "nothing is there"),
        (f"s3://no-such-bucket-{uuid4()}", "nothing is there"),
        (f"s3://no-such-bucket-{uuid4()}/a", "nothing is there"),
        (image, "a file, not a folder"),
        (f"{denied.address}/a", "can't be listed: access denied .*; has this machine the right keys?"),
        ("s3://key:topsecret@bucket/a", "no keys"),
    ]:
        with pytest.raises(UsageError, match=words) as caught:
            RemoteFolder.at(location, OPTIONS)
        assert "\n" not in str(caught.value)
        assert "topsecret" not in str(caught.value)


def test_a_pattern_that_is_none_is_wrong_usage(s3: S3Server) -> None:
    with pytest.raises(UsageError, match="not a pattern"):
        RemoteFolder.at(s3.address, OPTIONS, "*/..")


def test_a_machine_that_may_not_read_is_told_apart(s3: S3Server) -> None:
    with pytest.raises(CapstanError, match="nothing is there"):
        RemoteFolder(f"{s3.address}/nothing/here", OPTIONS).open_reader()

"""Tars as archives: what is listed, with which siblings, and what reading gives, of sound and of broken ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import random
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import FileSystem

from caption_core.archive.refs import REF_SCHEMA, batch_to_refs
from caption_core.archive.sources import gzip_access, tar, tar_listing, tar_reader
from caption_core.archive.sources.file_names import name_to_text
from caption_core.archive.sources.folder import IMAGE_EXTENSIONS
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.source import SourceImage, carried_in
from caption_core.archive.sources.tar import TarSource
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef
from tests.builders import plain, write_file
from tests.s3_server import S3Server
from tests.tar_builders import BLOCK, Entry, header, octal, pack, padded

CAP = 1 << 20
GNU_TAR = shutil.which("tar")


def source_of(folder: Path, data: bytes, name: str = "photos.tar") -> TarSource:
    return TarSource.at(str(write_file(folder / name, data)), InputOptions())


def refs_of(source: TarSource) -> list[ImageRef]:
    batches = list(source.list_refs())
    assert all(batch.schema.equals(REF_SCHEMA) for batch in batches)
    return [ref for batch in batches for ref in batch_to_refs(batch)]


def read_all(source: TarSource, refs: Sequence[ImageRef], max_bytes: int = CAP) -> list[SourceImage]:
    reader = source.open_reader()
    try:
        reader.begin(refs)
        return [reader.read(ref, max_bytes) for ref in refs]
    finally:
        reader.close()


def read_one(source: TarSource, max_bytes: int = CAP) -> SourceImage:
    (image,) = read_all(source, refs_of(source), max_bytes)
    return image


def error_of(image: SourceImage) -> ImageError:
    assert isinstance(image.data, ImageError)
    return image.data


def kind_of(image: SourceImage) -> ErrorKind:
    return error_of(image).kind


@dataclass(frozen=True)
class Expected:
    """An image as the test's own, simple reading of the rules has it."""

    image_id: str
    data: bytes
    key: str
    json: str | None
    txt: str | None


def expected_images(entries: Sequence[Entry]) -> list[Expected]:
    def parts(name: bytes) -> tuple[bytes, bytes]:
        folder, slash, base = name.rpartition(b"/")
        stem, _, extension = base.partition(b".")
        return folder + slash + stem, extension.lower()

    texts = {parts(entry.name): entry.data.decode("utf-8", "replace") for entry in entries}
    return [
        Expected(
            name_to_text(entry.name),
            entry.data,
            name_to_text(parts(entry.name)[0]),
            texts.get((parts(entry.name)[0], b"json")),
            texts.get((parts(entry.name)[0], b"txt")),
        )
        for entry in entries
        if entry.name.lower().endswith(IMAGE_EXTENSIONS)
    ]


STEMS = st.sampled_from(
    [b"a", b"b", b"new\nline", b"caf\xe9", "żółw 🐢".encode(), b"l" * 240, b"%41 #1", b"\\xe9", b"-"]
)
FOLDERS = st.sampled_from([b"", b"", b"sub/", b"v1.0/x/", b"f" * 120 + b"/", b"../", b"caf\xe9/"])
EXTENSIONS = st.sampled_from(
    [b".jpg", b".JPEG", b".png", b".left.webp", b".json", b".JSON", b".txt", b".seg.json", b".cls", b"", b".json.jpg"]
)
ENTRIES = st.lists(
    st.builds(
        lambda folder, stem, extension, data: Entry(folder + stem + extension, data),
        FOLDERS,
        STEMS,
        EXTENSIONS,
        st.binary(min_size=1, max_size=30) | st.binary(min_size=500, max_size=1100),
    ),
    max_size=14,
)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def assert_agrees(image: SourceImage, expected: Expected) -> None:
    assert image.data == expected.data
    assert image.carried == {"key": expected.key, "json": expected.json, "txt": expected.txt}


@settings(max_examples=80, deadline=None)
@given(ENTRIES, FORMATS, st.booleans(), st.randoms(use_true_random=False))
def test_every_image_comes_once_with_its_bytes_and_siblings(
    entries: list[Entry], format_: int, compress: bool, order: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = source_of(Path(folder), pack(entries, format_, compress=compress))
        refs, expected = refs_of(source), expected_images(entries)
        assert [ref.image_id for ref in refs] == [image.image_id for image in expected]
        assert [ref.num_bytes for ref in refs] == [len(image.data) for image in expected]

        pairs = list(zip(refs, expected, strict=True))
        order.shuffle(pairs)
        for image, (_, wanted) in zip(read_all(source, [ref for ref, _ in pairs]), pairs, strict=True):
            assert_agrees(image, wanted)

        # A shard on another machine: some of the references, through a copy of the source.
        shard = pairs[len(pairs) // 2 :]
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        for image, (_, wanted) in zip(read_all(copy, [ref for ref, _ in shard]), shard, strict=True):
            assert_agrees(image, wanted)


@pytest.mark.parametrize("compress", [False, True])
def test_many_threads_read_together(tmp_path: Path, compress: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_access, "_BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(tar_listing, "_ROWS_PER_BATCH", 7)
    random_ = random.Random(3)
    entries = [Entry(b"%03d.jpg" % index, random_.randbytes(1 + index * 37)) for index in range(200)]
    entries += [Entry(b"%03d.txt" % index, b"%d" % index) for index in range(200)]
    random_.shuffle(entries)
    source = source_of(tmp_path, pack(entries, compress=compress))
    refs = refs_of(source)
    random_.shuffle(refs)
    reader = source.open_reader()
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda ref: reader.read(ref, CAP), refs))
    reader.close()
    content = {image.image_id: image for image in expected_images(entries)}
    assert len(images) == 200
    for ref, image in zip(refs, images, strict=True):
        assert_agrees(image, content[ref.image_id])


@pytest.mark.parametrize("far_first", [False, True])
def test_siblings_far_from_their_images_are_decompressed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far_first: bool
) -> None:
    monkeypatch.setattr(gzip_access, "_BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(tar_reader, "_NEAR_BYTES", 1 << 12)
    advances: list[int] = []
    advance = gzip_access.GzipAccess._advance

    def counted(access: gzip_access.GzipAccess) -> None:
        advances.append(access._next)
        advance(access)

    images = [Entry(b"%03d.jpg" % index, random.Random(index).randbytes(2000)) for index in range(100)]
    texts = [Entry(b"%03d.txt" % index, b"text %d" % index) for index in range(100)]
    source = source_of(tmp_path, pack([*texts, *images] if far_first else [*images, *texts], compress=True))
    refs, expected = refs_of(source), expected_images([*images, *texts])
    monkeypatch.setattr(gzip_access.GzipAccess, "_advance", counted)
    reader = source.open_reader()
    for start in range(0, 100, 25):
        shard = slice(start, start + 25)
        reader.begin(refs[shard])
        for ref, wanted in zip(refs[shard], expected[shard], strict=True):
            assert_agrees(reader.read(ref, CAP), wanted)
    reader.close()
    num_blocks = max(advances) + 1
    assert len(advances) <= 3 * num_blocks + 4 * 2 * gzip_access._FIRST_SPACING


def test_the_way_to_a_shard_lies_before_its_first_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_access, "_BLOCK_BYTES", 1 << 10)
    images = [Entry(b"%03d.jpg" % index, random.Random(index).randbytes(2000)) for index in range(100)]
    source = source_of(tmp_path, pack(images, compress=True))
    refs = refs_of(source)
    events: list[str] = []
    advance = gzip_access.GzipAccess._advance

    def noted(access: gzip_access.GzipAccess) -> None:
        events.append("block")
        advance(access)

    monkeypatch.setattr(gzip_access.GzipAccess, "_advance", noted)
    reader = source.open_reader()
    events.clear()
    reader.begin(refs[80:], beat=lambda: events.append("beat"))
    assert events.count("block") > 200
    runs = "".join(event[1] for event in events).split("e")  # the blocks between two beats
    assert max(map(len, runs)) <= gzip_access._BLOCKS_PER_BEAT
    events.clear()
    assert reader.read(refs[80], CAP).data == images[80].data
    assert events.count("block") <= 3
    reader.close()


def test_the_uri_names_archive_and_member(tmp_path: Path) -> None:
    (ref,) = refs_of(source_of(tmp_path / "a b", pack([Entry(b"x/caf\xe9 #1.jpg", b"1")])))
    assert ref.uri == f"{(tmp_path / 'a b' / 'photos.tar').as_uri()}#x/caf%E9%20%231.jpg"


def test_locators_do_not_say_where_the_archive_is(tmp_path: Path) -> None:
    data = pack([Entry(b"a.jpg", b"1"), Entry(b"a.txt", b"one")])
    (here,), (there,) = refs_of(source_of(tmp_path / "here", data)), refs_of(source_of(tmp_path / "there", data))
    assert here.locator == there.locator == "512,1;;1536,3"


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        (b"./a.jpg", "a.jpg"),
        (b".//./a.jpg", "a.jpg"),
        (b"../../a.jpg", "../../a.jpg"),
        (b"/etc/a.jpg", "/etc/a.jpg"),
        (b"x/./a.jpg", "x/./a.jpg"),
    ],
)
def test_names_are_labels(tmp_path: Path, name: bytes, image_id: str) -> None:
    source = source_of(tmp_path / "in", pack([Entry(b"./a.txt", b"text"), Entry(name, b"content")]))
    (ref,) = refs_of(source)
    assert ref.image_id == image_id
    image = read_one(source)
    assert image.data == b"content"
    assert image.carried["txt"] == ("text" if image_id == "a.jpg" else None)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "photos.tar"]


def test_hidden_members_are_left_out(tmp_path: Path) -> None:
    names = [b"._a.jpg", b"x/._a.jpg", b".thumbnails/a.jpg", b"./.a.jpg", b"./a.jpg", b"x/..a.jpg", b"x/_a.jpg"]
    source = source_of(tmp_path, pack([Entry(name, b"1") for name in names]))
    assert [ref.image_id for ref in refs_of(source)] == ["a.jpg", "x/_a.jpg"]


def test_members_of_one_name_are_all_listed(tmp_path: Path) -> None:
    entries = [Entry(b"a.txt", b"old"), Entry(b"a.jpg", b"1"), Entry(b"a.jpg", b"22"), Entry(b"a.txt", b"new")]
    source = source_of(tmp_path, pack(entries))
    images = read_all(source, refs_of(source))
    assert [(image.data, image.carried["txt"]) for image in images] == [(b"1", "new"), (b"22", "new")]


def test_siblings_are_text_whatever_they_hold(tmp_path: Path) -> None:
    entries = [Entry(b"a.jpg", b"1"), Entry(b"a.json", b"\xff{}"), Entry(b"a.txt", b"")]
    image = read_one(source_of(tmp_path, pack(entries)))
    assert image.carried == {"key": "a", "json": "\ufffd{}", "txt": ""}


def test_a_large_sibling_is_not_carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_listing, "MAX_SIBLING_BYTES", 10)
    entries = [Entry(b"a.jpg", b"1"), Entry(b"a.json", b"x" * 11), Entry(b"a.txt", b"x" * 10)]
    image = read_one(source_of(tmp_path, pack(entries)))
    assert image.carried == {"key": "a", "json": None, "txt": "x" * 10}


def test_the_key_is_known_before_anything_is_read(tmp_path: Path) -> None:
    source = source_of(tmp_path, pack([Entry(b"a/b.left.jpg", b"1"), Entry(b"a/b.json", b"{}")]))
    assert [carried_in(source, ref) for ref in refs_of(source)] == [{"key": "a/b"}]


def test_the_columns_carried_are_nullable_text(tmp_path: Path) -> None:
    schema = source_of(tmp_path, pack([])).carried()
    assert [(field.name, str(field.type), field.nullable) for field in schema] == [
        (name, "string", True) for name in ("key", "json", "txt")
    ]


def test_the_byte_cap_is_exact_and_an_image_may_be_empty(tmp_path: Path) -> None:
    source = source_of(tmp_path / "x", pack([Entry(b"a.jpg", b"x" * 100), Entry(b"a.txt", b"text")]))
    assert read_one(source, 100).data == b"x" * 100
    refused = read_one(source, 99)
    assert kind_of(refused) is ErrorKind.TOO_MANY_BYTES
    assert refused.carried["txt"] == "text"
    assert kind_of(read_one(source_of(tmp_path, pack([Entry(b"a.jpg")])))) is ErrorKind.EMPTY


def test_a_size_beyond_all_memory_is_refused_by_the_cap(tmp_path: Path) -> None:
    data = header(b"a.jpg", octal(1)) + padded(b"1") + header(b"b.jpg", b"\x80" + (1 << 60).to_bytes(11, "big"))
    source = source_of(tmp_path, data)
    first, second = read_all(source, refs_of(source))
    assert first.data == b"1"
    assert kind_of(second) is ErrorKind.CORRUPT


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.DIRTYPE, "folder"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
    ],
)
def test_what_is_no_file_is_a_row(tmp_path: Path, kind: bytes, words: str) -> None:
    source = source_of(tmp_path, pack([Entry(b"odd.jpg", kind=kind, link="/etc/passwd"), Entry(b"a.jpg", b"1")]))
    refs = refs_of(source)
    assert [(ref.image_id, ref.num_bytes) for ref in refs] == [("odd.jpg", -1), ("a.jpg", 1)]
    odd, image = read_all(source, refs)
    assert kind_of(odd) is ErrorKind.UNREADABLE
    assert words in str(odd.data)
    assert image.data == b"1"


@pytest.mark.skipif(GNU_TAR is None, reason="needs the tar command")
@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"], ["--format=v7"], ["--format=posix", "-z"]])
def test_what_the_tar_command_writes(tmp_path: Path, options: list[str]) -> None:
    assert GNU_TAR is not None
    photos = tmp_path / "photos"
    deep = "d" * (20 if "v7" in options[0] else 120)
    write_file(photos / deep / "plain.png", plain())
    write_file(photos / "a.png", plain((1, 2, 3)))
    write_file(photos / "a.txt", b"a caption")
    os.link(photos / "a.png", photos / "b.png")
    with (photos / "sparse.png").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    if "v7" in options[0]:
        (photos / "sparse.png").unlink()
    command = [GNU_TAR, *options, "--sparse", "--sort=name", "-cf", str(tmp_path / "out.tar"), "-C", str(photos), "."]
    if "v7" in options[0]:
        command.remove("--sparse")
    subprocess.run(command, check=True)
    source = TarSource.at(str(tmp_path / "out.tar"), InputOptions())
    refs = refs_of(source)
    images = dict(zip((ref.image_id for ref in refs), read_all(source, refs, 4 << 20), strict=True))
    assert images.pop(f"{deep}/plain.png").data == plain()
    assert images.pop("a.png") == SourceImage(plain((1, 2, 3)), {"key": "a", "json": None, "txt": "a caption"})
    assert "hard link" in str(images.pop("b.png").data)
    if "v7" not in options[0]:
        assert "sparse" in str(images.pop("sparse.png").data)
    assert not images


PARTS = [Entry(b"%d.jpg" % index, random.Random(index).randbytes(100 + 300 * index)) for index in range(5)]
PARTS.insert(2, Entry(b"0.txt", b"text" * 300))
SOUND = pack(PARTS, tarfile.PAX_FORMAT).rstrip(b"\0")
IMAGES = expected_images(PARTS)
SOUND_GZIP = gzip.compress(SOUND)


def images_before(data: bytes) -> int:
    """How many images lie whole in the beginning of `SOUND`."""
    return sum(SOUND.index(image.data) + len(image.data) <= len(data) for image in IMAGES)


def assert_cut(source: TarSource, num_whole: int) -> None:
    refs = refs_of(source)
    images = read_all(source, refs)
    assert [image.data for image in images[:num_whole]] == [image.data for image in IMAGES[:num_whole]]
    assert [ref.image_id for ref in refs[:num_whole]] == [image.image_id for image in IMAGES[:num_whole]]
    assert len(images) <= num_whole + 1
    for ref, image in zip(refs[num_whole:], images[num_whole:], strict=True):
        assert ref.image_id in ("photos.tar#damaged", *(expected.image_id for expected in IMAGES[num_whole:]))
        assert kind_of(image) is ErrorKind.CORRUPT
        assert "ends" in str(image.data)


@settings(max_examples=80, deadline=None)
@given(st.integers(BLOCK, len(SOUND)))
def test_a_tar_cut_anywhere_keeps_the_images_before_the_cut(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_cut(source_of(Path(folder), SOUND[:cut]), images_before(SOUND[:cut]))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(SOUND_GZIP) - 1))
def test_a_gzipped_tar_cut_anywhere_keeps_the_images_before_the_cut(cut: int) -> None:
    left = gzip_access.GzipAccess(_Bytes(SOUND_GZIP[:cut])).read_at(1 << 20, 0) if cut >= 2 else b""
    with tempfile.TemporaryDirectory() as folder:
        if len(left) < BLOCK:
            with pytest.raises(UsageError, match="not a tar"):
                source_of(Path(folder), SOUND_GZIP[:cut])
        else:
            source = source_of(Path(folder), SOUND_GZIP[:cut])
            assert_cut(source, images_before(left))
            # Something tells of the cut, be it only that of gzip's checksum.
            assert isinstance(read_all(source, refs_of(source))[-1].data, ImageError)


class _Bytes:
    damage = None

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        return self._data[offset : offset + num_bytes]

    def approach(self, offset: int, beat: Callable[[], None]) -> None:
        pass

    def close(self) -> None:
        pass


@settings(max_examples=80, deadline=None)
@given(st.booleans(), st.integers(0), st.integers(1, 255))
def test_a_wrong_byte_anywhere_ends_as_rows(compress: bool, at: int, change: int) -> None:
    damaged = bytearray(SOUND_GZIP if compress else SOUND)
    damaged[at % len(damaged)] ^= change
    with tempfile.TemporaryDirectory() as folder:
        try:
            source = source_of(Path(folder), bytes(damaged))
        except UsageError:
            assert at % len(damaged) < BLOCK
            return
        for image in read_all(source, refs_of(source)):
            assert isinstance(image.data, bytes) or kind_of(image) in (ErrorKind.CORRUPT, ErrorKind.UNREADABLE)


def test_a_damaged_header_is_one_row_after_the_images_before_it(tmp_path: Path) -> None:
    first, second, third = (padded(pack([Entry(b"%d.jpg" % i, b"x" * 700)])[:1536]) for i in range(3))
    source = source_of(tmp_path, first + b"damage" + second[6:] + third)
    refs = refs_of(source)
    assert [ref.image_id for ref in refs] == ["0.jpg", "photos.tar#damaged"]
    image, damage = read_all(source, refs)
    assert image.data == b"x" * 700
    assert kind_of(damage) is ErrorKind.CORRUPT
    assert str(damage.data).endswith("at byte 1,536 of the archive; what follows can't be read")
    assert damage.carried["key"] is None


def test_a_cut_sibling_is_damage_and_null(tmp_path: Path) -> None:
    data = pack([Entry(b"a.jpg", b"1"), Entry(b"a.txt", b"text" * 100)])
    source = source_of(tmp_path, data[: 3 * BLOCK + 10])
    refs = refs_of(source)
    assert [ref.image_id for ref in refs] == ["a.jpg", "photos.tar#damaged"]
    image, damage = read_all(source, refs)
    assert image == SourceImage(b"1", {"key": "a", "json": None, "txt": None})
    assert "ends before this member does" in str(damage.data)


def test_a_damaged_gzip_keeps_the_images_before_the_damage(tmp_path: Path) -> None:
    random_ = random.Random(7)
    entries = [Entry(b"%03d.jpg" % index, random_.randbytes(50_000)) for index in range(100)]
    good, bad = pack(entries[:60]).rstrip(b"\0"), pack(entries[60:])
    data = gzip.compress(padded(good)) + gzip.compress(bad)[:10] + b"\xff" * 1000
    source = source_of(tmp_path, data, "photos.tgz")
    refs = refs_of(source)
    assert [ref.image_id for ref in refs] == [f"{index:03d}.jpg" for index in range(60)] + ["photos.tgz#damaged"]
    *images, damage = read_all(source, refs)
    assert [image.data for image in images] == [entry.data for entry in entries[:60]]
    assert "damaged gzip data" in str(damage.data)


def test_a_wrong_gzip_checksum_is_told_of(tmp_path: Path) -> None:
    whole = pack([Entry(b"a.jpg", b"1")], compress=True)
    source = source_of(tmp_path, whole[:-8] + b"\1\2\3\4" + whole[-4:])
    image, damage = read_all(source, refs_of(source))
    assert image.data == b"1"
    assert "incorrect data check" in str(damage.data)


def test_an_archive_that_shrank_since_it_was_listed(tmp_path: Path) -> None:
    source = source_of(tmp_path, SOUND)
    refs = refs_of(source)
    write_file(tmp_path / "photos.tar", SOUND[: len(SOUND) // 2])
    images = read_all(source, refs)
    num_whole = images_before(SOUND[: len(SOUND) // 2])
    assert 0 < num_whole < len(images)
    assert [image.data for image in images[:num_whole]] == [image.data for image in IMAGES[:num_whole]]
    assert {str(image.data) for image in images[num_whole:]} == {"the archive ends in it"}


def test_a_tar_is_known_by_its_content(tmp_path: Path) -> None:
    data = pack([Entry(b"a.jpg", b"1")])
    assert read_one(source_of(tmp_path, gzip.compress(data), "a.tar")).data == b"1"
    assert read_one(source_of(tmp_path, data, "b.tar.gz")).data == b"1"


@pytest.mark.parametrize("compress", [False, True])
def test_an_empty_tar_holds_nothing(tmp_path: Path, compress: bool) -> None:
    assert refs_of(source_of(tmp_path, pack([], compress=compress))) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes, too few"),
        (b"\x1f\x8b", "too early"),
        (plain().ljust(1000), "doesn't begin with a tar's header"),
        (gzip.compress(plain().ljust(1000)), "in gzip: it doesn't begin"),
        (gzip.compress(b"", mtime=0), "in gzip: 0 bytes"),
        (bz2.compress(random.Random(1).randbytes(2000)), "bzip2"),
        (lzma.compress(random.Random(1).randbytes(2000)), "compressed with xz"),
    ],
)
def test_what_is_no_tar_is_wrong_usage(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        source_of(tmp_path, data)
    assert str(caught.value).startswith(f"{tmp_path}/photos.tar: not a tar")


def test_a_missing_tar_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        TarSource.at(str(tmp_path / "nowhere.tar"), InputOptions())
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(UsageError, match="a folder"):
        TarSource.at(str(tmp_path / "folder.tar"), InputOptions())


def test_a_forbidden_tar_is_wrong_usage(users_folder: Path) -> None:
    write_file(users_folder / "a.tar", pack([])).chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        TarSource.at(str(users_folder / "a.tar"), InputOptions())


def test_a_tar_that_went_away(tmp_path: Path) -> None:
    source = source_of(tmp_path, pack([Entry(b"a.jpg", b"1")]))
    (tmp_path / "photos.tar").unlink()
    with pytest.raises(UsageError, match=r"photos\.tar"):
        refs_of(source)
    with pytest.raises(CapstanError, match=r"photos\.tar"):
        source.open_reader()


@pytest.mark.parametrize("compress", [False, True])
def test_a_tar_in_an_object_store(s3: S3Server, compress: bool) -> None:
    entries = [Entry(b"a.txt", b"text"), Entry(b"b #1.jpg", b"2" * 5000), Entry(b"a.jpg", b"1")]
    address = s3.put(f"{compress}/my photos.tar", pack(entries, compress=compress))
    source = TarSource.at(address, InputOptions())
    refs = refs_of(source)
    assert [(ref.image_id, ref.uri) for ref in refs] == [
        ("b #1.jpg", f"{address}#b%20%231.jpg"),
        ("a.jpg", f"{address}#a.jpg"),
    ]
    for image, wanted in zip(read_all(pickle.loads(pickle.dumps(source)), refs), expected_images(entries), strict=True):
        assert_agrees(image, wanted)


def test_a_tar_of_many_blocks_in_an_object_store_is_listed_whole(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(b"%d.jpg" % index, bytes([index]) * 700) for index in range(100)]
    monkeypatch.setattr(tar, "_REMOTE_BLOCK_BYTES", 5000)
    refs = refs_of(TarSource.at(s3.put("blocks.tar", pack(entries)), InputOptions()))
    assert [ref.image_id for ref in refs] == [f"{index}.jpg" for index in range(100)]


def test_an_object_that_was_written_again_shorter(s3: S3Server) -> None:
    address = s3.put("cut.tar", SOUND)
    source = TarSource.at(address, InputOptions())
    refs, reader = refs_of(source), source.open_reader()
    file_system, path = FileSystem.from_uri(address)
    with file_system.open_output_stream(path) as file:
        file.write(SOUND[: 2 * BLOCK])
    assert kind_of(reader.read(refs[-1], CAP)) is ErrorKind.DOWNLOAD_FAILED
    reader.close()
    assert str(read_all(source, refs)[-1].data) == "the archive ends in it"


def test_a_missing_object_is_wrong_usage(s3: S3Server) -> None:
    with pytest.raises(UsageError, match="no such file"):
        TarSource.at(f"{s3.address}/nowhere.tar", InputOptions())


def test_it_reads_from_its_file_alone(tmp_path: Path) -> None:
    assert source_of(tmp_path, pack([])).locations() == [str(tmp_path / "photos.tar")]

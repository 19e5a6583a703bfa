"""What the user names becomes a source of the right kind, or one clear error."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.archive.refs import batch_to_refs
from caption_core.archive.sources.inputs import open_inputs
from caption_core.archive.sources.options import InputOptions
from caption_core.errors import UsageError
from tests.builders import plain, write_file

OPTIONS = InputOptions()


def ids(*inputs: object, options: InputOptions = OPTIONS) -> list[str]:
    source = open_inputs([str(text) for text in inputs], options)
    return [ref.image_id for batch in source.list_refs() for ref in batch_to_refs(batch)]


def contents(*inputs: object) -> list[object]:
    """The bytes of all images, as a worker would read them."""
    source = open_inputs([str(text) for text in inputs], OPTIONS)
    refs = [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]
    reader = source.open_reader()
    reader.begin(refs)
    return [reader.read(ref, 1 << 20).data for ref in refs]


def write_tar(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(plain())
            archive.addfile(member, io.BytesIO(plain()))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder with archives of every kind, each with images."""
    for name in ("photos/a.png", "photos/deep/b.png", "photos/deep/c.jpg", "photos/notes.txt"):
        write_file(tmp_path / name, plain())
    write_tar(tmp_path / "tars" / "0.tar", "x.png")
    write_tar(tmp_path / "tars" / "1.tar.gz", "x.png", "y.png")
    pq.write_table(pa.table({"image": [plain(), plain()]}), tmp_path / "images.parquet")
    pq.write_table(pa.table({"path": ["photos/a.png"]}), tmp_path / "list.parquet")
    (tmp_path / "list.csv").write_text("path\nphotos/a.png\nphotos/deep/b.png\n")
    (tmp_path / "list.jsonl").write_text('{"path": "photos/a.png"}\n')
    (tmp_path / "list.txt").write_text("photos/deep/c.jpg\n")
    return tmp_path


def test_every_kind_of_input_is_recognized_and_read(archive: Path) -> None:
    assert ids(archive / "photos") == ["a.png", "deep/b.png", "deep/c.jpg"]
    assert ids(archive / "tars" / "1.tar.gz") == ["x.png", "y.png"]
    assert len(ids(archive / "images.parquet")) == 2
    assert ids(archive / "list.parquet") == ["photos/a.png"]
    assert ids(archive / "list.csv") == ["photos/a.png", "photos/deep/b.png"]
    assert ids(archive / "list.jsonl") == ["photos/a.png"]
    assert ids(archive / "list.txt") == ["photos/deep/c.jpg"]
    kinds = ["photos", "tars/0.tar", "tars/1.tar.gz", "images.parquet", "list.parquet", "list.csv", "list.txt"]
    found = contents(*(archive / kind for kind in kinds))
    assert found == [plain()] * 12


def test_several_inputs_have_ids_of_their_own(archive: Path) -> None:
    found = ids(archive / "photos", archive / "tars" / "0.tar", archive / "photos" / "deep")
    assert found == [
        "photos/a.png",
        "photos/deep/b.png",
        "photos/deep/c.jpg",
        "0.tar/x.png",
        "deep/b.png",
        "deep/c.jpg",
    ]


def test_inputs_of_the_same_name_are_told_apart(archive: Path) -> None:
    write_tar(archive / "more" / "0.tar", "x.png")
    assert ids(archive / "tars" / "0.tar", archive / "more" / "0.tar") == ["0.tar/x.png", "0.tar~2/x.png"]


def test_names_that_are_not_utf8_are_written_out_in_ids(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"b\xff"))
    write_file(tmp_path / "a" / "x.png", plain())
    write_file(tmp_path / odd / "x.png", plain())
    inputs = tmp_path / "a", tmp_path / odd
    assert ids(*inputs) == ["a/x.png", r"b\xff/x.png"]
    assert contents(*inputs) == [plain()] * 2


def test_patterns_of_images_and_of_archives(archive: Path) -> None:
    assert ids(f"{archive}/photos/**/*.png") == ["a.png", "deep/b.png"]
    assert ids(f"{archive}/photos/*.png") == ["a.png"]
    assert ids(f"{archive}/tars/*.tar") == ["x.png"]
    assert ids(f"{archive}/t*/*.tar.gz") == ["x.png", "y.png"]


def test_a_pattern_means_the_same_for_archives_as_for_images(archive: Path) -> None:
    for name in ("b/1.tar", "b/c/2.tar", "b-/3.tar", ".hidden/4.tar", "b/.5.tar", "ab/6.tar.gz", "b/7.TAR"):
        write_tar(archive / "sets" / name, "x.png")
    (archive / "sets" / "b" / "folder.tar").mkdir()
    (archive / "sets" / "linked").symlink_to(archive / "sets" / "b")
    (archive / "sets" / "b" / "link.tar").symlink_to(archive / "tars" / "0.tar")
    assert ids(f"{archive}/sets/**b/*.tar") == ["b/1.tar/x.png", "b/link.tar/x.png"]
    assert ids(f"{archive}/sets/**/*.tar") == [
        f"{name}/x.png" for name in ("b-/3.tar", "b/1.tar", "b/c/2.tar", "b/link.tar")
    ]
    assert ids(f"{archive}/sets/.hidden/*.tar") == ["x.png"]


def test_only_folders_that_may_hold_matching_archives_are_looked_into(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    scandir = os.scandir

    def noted(path: bytes) -> Iterator[os.DirEntry[bytes]]:
        looked.append(path)
        return scandir(path)

    write_tar(archive / "sets" / "b" / "1.tar", "x.png")
    write_tar(archive / "sets" / "a" / "1.tar", "x.png")
    monkeypatch.setattr(os, "scandir", noted)
    assert ids(f"{archive}/sets/[b]/*.tar") == ["x.png"]
    assert looked == [os.fsencode(archive / "sets"), os.fsencode(archive / "sets" / "b")]


@pytest.mark.parametrize(
    ("options", "inputs", "option"),
    [
        ({"image_root": Path()}, ["photos", "tars/0.tar", "images.parquet"], "--image-root"),
        ({"path_column": "path"}, ["photos", "images.parquet"], "--path-column"),
        ({"image_column": "image"}, ["photos", "list.csv", "list.parquet"], "--image-column"),
        ({"id_column": "id"}, ["photos", "tars/0.tar"], "--id-column"),
    ],
)
def test_an_option_that_concerns_no_input_is_told(
    archive: Path, options: dict[str, Any], inputs: list[str], option: str
) -> None:
    with pytest.raises(UsageError, match=f"^{option}: no "):
        ids(*(archive / name for name in inputs), options=InputOptions(**options))


def test_an_option_that_concerns_one_of_several_inputs_is_fine(archive: Path) -> None:
    inputs = [archive / name for name in ("photos", "list.csv", "images.parquet")]
    every: list[dict[str, Any]] = [{"image_root": archive}, {"path_column": "path"}, {"image_column": "image"}]
    for options in every:
        assert len(ids(*inputs, options=InputOptions(**options))) == 7


def test_relative_paths_mean_the_working_folder(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive)
    assert ids("tars/0.tar") == ["x.png"]
    assert ids("list.csv") == ["photos/a.png", "photos/deep/b.png"]
    assert ids("photos/*.png") == ["a.png"]
    assert contents("list.csv", "tars/0.tar") == [plain()] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere", "no such folder"),
        ("nowhere.tar", "no such file"),
        ("nowhere.csv", "no such file"),
        ("photos/notes.pdf", "neither a folder nor an archive"),
        ("tars/*.parquet", "no file matches"),
        ("https://example.org/photos", "list its addresses in a manifest"),
        ("ftp://example.org/photos", "list its addresses in a manifest"),
        ("s3://key:secret@bucket/x", "no keys in an address"),
        ("s3://key:secret/def@bucket/x", "no keys in an address"),
        ("s3://key:se*cret/secret@bucket/*.jpg", "no keys in an address"),
        ("s3://key:secret@bucket/x?region=eu", "no keys in an address"),
        ("https://user:secret@example.org/photos", "list its addresses in a manifest"),
        ("", "an empty text names no input"),
        ("x" * 300, "can't be looked up"),
        ("x" * 300 + "/*.tar", "can't be looked up"),
        ("loop", "can't be looked up"),
    ],
)
def test_a_wrong_input_is_told(archive: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive)
    write_file(archive / "photos" / "notes.pdf", b"%PDF")
    (archive / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=message) as caught:
        ids(text)
    assert "secret" not in str(caught.value)


def test_a_folder_may_be_named_like_an_archive(tmp_path: Path) -> None:
    write_file(tmp_path / "photos.tar" / "a.png", plain())
    assert ids(tmp_path / "photos.tar") == ["a.png"]


def test_of_several_inputs_some_may_lack_a_carried_column(archive: Path) -> None:
    (archive / "labels.csv").write_text("path,label\nphotos/a.png,tree\n")
    inputs = [str(archive / name) for name in ("list.csv", "labels.csv", "tars/0.tar", "images.parquet")]
    source = open_inputs(inputs, InputOptions(carry=(("label", "kind"),)))
    refs = [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]
    reader = source.open_reader()
    reader.begin(refs)
    kinds = {ref.image_id: reader.read(ref, 1 << 20).carried.get("kind") for ref in refs}
    assert {name for name, kind in kinds.items() if kind is not None} == {"labels.csv/photos/a.png"}
    with pytest.raises(UsageError, match="no input has a column 'colour'"):
        open_inputs(inputs, InputOptions(carry=(("colour", "colour"),)))
    with pytest.raises(UsageError, match="no column 'label' among path"):
        open_inputs(inputs[:1], InputOptions(carry=(("label", "label"),)))


@pytest.mark.parametrize("name", ["pipe.tar", "caf\udce9.tar"])
def test_what_is_no_readable_file_is_told(tmp_path: Path, name: str) -> None:
    if name == "pipe.tar":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).touch()
    with pytest.raises(UsageError):
        ids(tmp_path / name)

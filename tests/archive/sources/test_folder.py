"""A folder as an archive: what is listed, in which order, and what reading refuses."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.refs import REF_SCHEMA, ROWS_PER_BATCH, batch_to_refs
from caption_core.archive.sources.folder import FolderSource
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef
from tests.builders import plain, write_file, write_hostile_folder, write_oddly_named_images

CAP = 1 << 20


def refs_of(source: FolderSource) -> list[ImageRef]:
    return [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]


def listed(folder: Path) -> list[str]:
    return [ref.image_id for ref in refs_of(FolderSource.at(folder))]


def read_ref(source: FolderSource, ref: ImageRef, max_bytes: int = CAP) -> bytes | ImageError:
    reader = source.open_reader()
    reader.begin([ref])
    image = reader.read(ref, max_bytes)
    reader.close()
    assert not image.carried
    return image.data


def read(folder: Path, name: str, max_bytes: int = CAP) -> bytes | ImageError:
    source = FolderSource.at(folder)
    (ref,) = (ref for ref in refs_of(source) if ref.image_id == name)
    return read_ref(source, ref, max_bytes)


def error_of(data: bytes | ImageError) -> ImageError:
    assert isinstance(data, ImageError)
    assert str(data)
    return data


def kind_of(folder: Path, name: str, max_bytes: int = CAP) -> ErrorKind:
    return error_of(read(folder, name, max_bytes)).kind


def test_images_are_found_by_extension_in_any_case_and_depth(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.png", "d.webp", "e.GIF", "f.bmp", "g.tif", "h.tiff", "sub/deep/er/i.Jpg"]
    names += ["j.avif", "k.HEIC", "l.heif"]
    for name in [*names, "notes.txt", "jpg", "a.jpg.bak", "archive.tar"]:
        write_file(tmp_path / name, b"x")
    assert listed(tmp_path) == sorted(names)


def test_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    for name in [".hidden.jpg", ".thumbnails/a.jpg", "sub/.b.jpg", "_c.jpg", "_sub/d.jpg"]:
        write_file(tmp_path / name, b"x")
    assert listed(tmp_path) == ["_c.jpg", "_sub/d.jpg"]


def test_the_listing_is_a_stream_of_batches(tmp_path: Path) -> None:
    for index in range(ROWS_PER_BATCH + 1):
        (tmp_path / f"{index:05d}.png").touch()
    source = FolderSource.at(tmp_path)
    batches = list(source.list_refs())
    assert [batch.num_rows for batch in batches] == [ROWS_PER_BATCH, 1]
    assert all(batch.schema == REF_SCHEMA for batch in batches)
    assert list(source.list_refs()) == batches


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


def test_a_source_travels_to_its_workers(tmp_path: Path) -> None:
    write_file(tmp_path / "a.png", b"content")
    source = pickle.loads(pickle.dumps(FolderSource.at(tmp_path)))
    assert read_ref(source, refs_of(source)[0]) == b"content"
    assert source.carried() == pa.schema([])
    assert source.locations() == [str(tmp_path.resolve())]


SEGMENTS = st.text(st.sampled_from("ab!.-_/~é"), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.sets(SEGMENTS, max_size=12))
def test_order_is_that_of_the_paths_bytes(segments: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, expected = Path(folder), set()
        for segment in segments:
            path = (root / "x" / f"{segment.strip('/')}.png").resolve()
            if root.resolve() not in path.parents or any(parent.is_file() for parent in path.parents):
                continue
            if not path.is_dir():
                write_file(path, b"x")
                name = path.relative_to(root.resolve()).as_posix()
                if not any(part.startswith(".") for part in name.split("/")):
                    expected.add(name)
        assert listed(root) == sorted(expected, key=os.fsencode)


def test_the_size_is_listed(tmp_path: Path) -> None:
    write_file(tmp_path / "a.jpg", bytes(123))
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "c.jpg").mkdir()
    assert [ref.num_bytes for ref in refs_of(FolderSource.at(tmp_path))] == [123, -1, -1]


def test_odd_names_are_listed_and_read(tmp_path: Path) -> None:
    names = write_oddly_named_images(tmp_path / "in")
    assert sorted(listed(tmp_path / "in")) == sorted([*names, "folder.jpg"])
    for name in names:
        assert read(tmp_path / "in", name) in (plain(), plain(format_="JPEG"))


def test_the_uri_is_a_file_address(tmp_path: Path) -> None:
    write_file(tmp_path / "a b%.jpg", b"x")
    (ref,) = refs_of(FolderSource.at(tmp_path))
    assert ref.locator == ""
    assert ref.uri == (tmp_path.resolve() / "a b%.jpg").as_uri()


def test_hostile_files_fail_with_their_kind(tmp_path: Path) -> None:
    kinds = write_hostile_folder(tmp_path / "in", tmp_path / "outside.png")
    for name, kind in kinds.items():
        data = read(tmp_path / "in", name)
        if kind in ("corrupt", "not_an_image", "too_many_pixels"):
            assert isinstance(data, bytes), name
        else:
            assert error_of(data).kind == kind, name


def test_a_link_inside_the_folder_is_read(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.png", b"content")
    (tmp_path / "in" / "b.png").symlink_to("a.png")
    assert read(tmp_path / "in", "b.png") == b"content"


@pytest.mark.parametrize("target", [".", "sub"])
def test_a_link_to_a_folder_is_not_entered(tmp_path: Path, target: str) -> None:
    write_file(tmp_path / "in" / "sub" / "a.png", b"x")
    (tmp_path / "in" / "link").symlink_to(target)
    assert listed(tmp_path / "in") == ["sub/a.png"]


def test_a_folder_named_as_an_image_is_a_row_and_entered(tmp_path: Path) -> None:
    for name in ("a.png/b.png", "a.png.png", "a.png-.png"):
        write_file(tmp_path / name, b"content")
    assert listed(tmp_path) == ["a.png", "a.png-.png", "a.png.png", "a.png/b.png"]
    error = error_of(read(tmp_path, "a.png"))
    assert (error.kind, str(error)) == (ErrorKind.UNREADABLE, "not a regular file")
    assert read(tmp_path, "a.png/b.png") == b"content"


def test_a_folder_in_place_of_an_image_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    open_files = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(10):
        read(tmp_path, "a.png")
    assert sorted(Path("/proc/self/fd").iterdir()) == open_files


def test_a_link_to_a_folder_named_as_an_image_is_a_row_and_not_entered(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "sub" / "a.png", b"x")
    (tmp_path / "in" / "link.jpg").symlink_to("sub")
    (tmp_path / "in" / "out.jpg").symlink_to("..")
    assert listed(tmp_path / "in") == ["link.jpg", "out.jpg", "sub/a.png"]
    assert kind_of(tmp_path / "in", "link.jpg") is ErrorKind.UNREADABLE
    assert kind_of(tmp_path / "in", "out.jpg") is ErrorKind.REFUSED


def test_a_folder_that_is_a_link_itself_is_fine(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.png", b"content")
    (tmp_path / "link").symlink_to("in")
    assert read(tmp_path / "link", "a.png") == b"content"


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    outside = write_file(tmp_path / "input" / "a.png", b"x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(outside)
    assert kind_of(tmp_path / "in", "b.png") is ErrorKind.REFUSED


def test_a_file_that_went_away(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.png", b"x")
    source = FolderSource.at(tmp_path)
    (ref,) = refs_of(source)
    path.unlink()
    assert error_of(read_ref(source, ref)).kind is ErrorKind.NOT_FOUND


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.png", b"x")
    source = FolderSource.at(tmp_path)
    (ref,) = refs_of(source)
    path.unlink()
    path.mkdir()
    assert error_of(read_ref(source, ref)).kind is ErrorKind.UNREADABLE


def test_a_forbidden_file(users_folder: Path) -> None:
    write_file(users_folder / "a.png", b"x").chmod(0)
    assert kind_of(users_folder, "a.png") is ErrorKind.UNREADABLE


def test_a_forbidden_folder_stops_the_listing(users_folder: Path) -> None:
    write_file(users_folder / "sub" / "a.png", b"x")
    (users_folder / "sub").chmod(0)
    with pytest.raises(UsageError, match="can't be listed"):
        listed(users_folder)
    (users_folder / "sub").chmod(0o700)  # so that it can be removed


def test_the_byte_cap_is_exact(tmp_path: Path) -> None:
    write_file(tmp_path / "a.png", plain())
    size = len(plain())
    assert read(tmp_path, "a.png", size) == plain()
    assert kind_of(tmp_path, "a.png", size - 1) is ErrorKind.TOO_MANY_BYTES


def test_links_may_lead_out_where_the_user_says_so(tmp_path: Path) -> None:
    outside = write_file(tmp_path / "elsewhere" / "a.png", b"content")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(outside)
    source = FolderSource.at(tmp_path / "in", follow_links=True)
    (ref,) = refs_of(source)
    assert read_ref(source, ref) == b"content"
    for unlinked in (outside.as_uri(), (tmp_path / "in" / ".." / "elsewhere" / "a.png").as_uri()):
        assert error_of(read_ref(source, ImageRef("a", unlinked))).kind is ErrorKind.REFUSED


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("https://example.org/a.png", ErrorKind.UNREADABLE),
        ("/etc/passwd", ErrorKind.UNREADABLE),
        ("file:///etc/passwd", ErrorKind.REFUSED),
        ("file:///dev/zero", ErrorKind.REFUSED),
        ("file:///etc/p%00", ErrorKind.UNREADABLE),
    ],
)
def test_an_address_elsewhere_is_not_read(tmp_path: Path, uri: str, kind: ErrorKind) -> None:
    assert error_of(read_ref(FolderSource.at(tmp_path), ImageRef("a", uri))).kind is kind


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        FolderSource.at(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="not a folder"):
        FolderSource.at(write_file(tmp_path / "file", b""))


def test_a_machine_without_the_folder_is_told_apart(tmp_path: Path) -> None:
    FolderSource.at(tmp_path).open_reader().close()
    with pytest.raises(CapstanError, match="doesn't see the input folder"):
        FolderSource(tmp_path / "nowhere").open_reader()


def matching(folder: Path, pattern: str) -> list[str]:
    return [ref.image_id for ref in refs_of(FolderSource.at(folder, pattern=pattern))]


def test_a_pattern_narrows_what_is_listed(tmp_path: Path) -> None:
    for name in ["a.jpg", "2019-05/b.JPG", "2019-05/b.txt", "2019-05/x/c.jpg", "2020/d.jpg", "2019-05/.h/e.jpg"]:
        write_file(tmp_path / name, b"x")
    assert matching(tmp_path, "2019-*/**") == ["2019-05/b.JPG", "2019-05/x/c.jpg"]
    assert matching(tmp_path, "**/*.jpg") == ["2019-05/x/c.jpg", "2020/d.jpg", "a.jpg"]
    assert matching(tmp_path, "*.txt") == []
    assert matching(tmp_path, "2019-05/.h/*") == []


def test_folders_that_no_pattern_leads_to_are_not_entered(users_folder: Path) -> None:
    write_file(users_folder / "forbidden" / "a.jpg", b"x").parent.chmod(0)
    write_file(users_folder / "open" / "b.jpg", b"x")
    assert matching(users_folder, "op*/*") == ["open/b.jpg"]
    with pytest.raises(UsageError, match="can't be listed"):
        matching(users_folder, "**")
    (users_folder / "forbidden").chmod(0o700)


def test_a_pattern_sees_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_file(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")), b"x")
    write_file(tmp_path / "caf\u00e9.jpg", b"x")
    assert matching(tmp_path, "caf?.jpg") == ["caf\u00e9.jpg", r"caf\xe9.jpg"]


def test_a_pattern_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a pattern"):
        FolderSource.at(tmp_path, pattern="*/..")

"""A folder as an archive: what is listed, in which order, and what reading refuses."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.folder import FolderSource
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.images import ImageLimits, decode_image
from caption_core.records import ErrorKind, ImageRef
from tests.builders import plain, write_file, write_hostile_folder, write_oddly_named_images

CAP = 1 << 20


def listed(folder: Path) -> list[str]:
    return [ref.image_id for ref in FolderSource.at(folder).list_refs()]


def read(folder: Path, name: str, max_bytes: int = CAP) -> bytes:
    source = FolderSource.at(folder)
    (ref,) = (ref for ref in source.list_refs() if ref.image_id == name)
    return source.read(ref, max_bytes)


def kind_of(folder: Path, name: str, max_bytes: int = CAP) -> ErrorKind:
    with pytest.raises(ImageError) as caught:
        read(folder, name, max_bytes)
    return caught.value.kind


def test_images_are_found_by_extension_in_any_case_and_depth(tmp_path: Path) -> None:
    names = ["a.jpg", "b.JPEG", "c.png", "d.webp", "e.GIF", "f.bmp", "g.tif", "h.tiff", "sub/deep/er/i.Jpg"]
    for name in [*names, "notes.txt", "jpg", "a.jpg.bak", "archive.tar"]:
        write_file(tmp_path / name, b"x")
    assert listed(tmp_path) == sorted(names)


def test_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    for name in [".hidden.jpg", ".thumbnails/a.jpg", "sub/.b.jpg", "_c.jpg", "_sub/d.jpg"]:
        write_file(tmp_path / name, b"x")
    assert listed(tmp_path) == ["_c.jpg", "_sub/d.jpg"]


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
    assert [ref.num_bytes for ref in FolderSource.at(tmp_path).list_refs()] == [123, -1]


def test_odd_names_are_listed_and_read(tmp_path: Path) -> None:
    names = write_oddly_named_images(tmp_path / "in")
    assert sorted(listed(tmp_path / "in")) == sorted(names)
    for name in names:
        assert decode_image(read(tmp_path / "in", name), (8, 8), ImageLimits()).width == 40


def test_the_uri_is_a_file_address(tmp_path: Path) -> None:
    write_file(tmp_path / "a b%.jpg", b"x")
    (ref,) = FolderSource.at(tmp_path).list_refs()
    assert ref.uri == (tmp_path.resolve() / "a b%.jpg").as_uri()


def test_hostile_files_fail_with_their_kind(tmp_path: Path) -> None:
    kinds = write_hostile_folder(tmp_path / "in", tmp_path / "outside.png")
    for name, kind in kinds.items():
        with pytest.raises(ImageError) as caught:
            decode_image(read(tmp_path / "in", name), (8, 8), ImageLimits())
        assert caught.value.kind == kind, name


def test_a_link_inside_the_folder_is_read(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.png", b"content")
    (tmp_path / "in" / "b.png").symlink_to("a.png")
    assert read(tmp_path / "in", "b.png") == b"content"


@pytest.mark.parametrize("target", ["..", ".", "sub"])
def test_a_link_to_a_folder_is_not_entered(tmp_path: Path, target: str) -> None:
    write_file(tmp_path / "in" / "sub" / "a.png", b"x")
    (tmp_path / "in" / "link").symlink_to(target)
    (tmp_path / "in" / "link.jpg").symlink_to(target)
    assert listed(tmp_path / "in") == ["sub/a.png"]


def test_a_folder_that_is_a_link_itself_is_fine(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.png", b"content")
    (tmp_path / "link").symlink_to("in")
    assert read(tmp_path / "link", "a.png") == b"content"


def test_a_neighbour_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    outside = write_file(tmp_path / "input" / "a.png", b"x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(outside)
    assert kind_of(tmp_path / "in", "b.png") is ErrorKind.UNREADABLE


def test_a_file_that_went_away(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.png", b"x")
    source = FolderSource.at(tmp_path)
    (ref,) = source.list_refs()
    path.unlink()
    with pytest.raises(ImageError) as caught:
        source.read(ref, CAP)
    assert caught.value.kind is ErrorKind.NOT_FOUND


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.png", b"x")
    source = FolderSource.at(tmp_path)
    (ref,) = source.list_refs()
    path.unlink()
    path.mkdir()
    with pytest.raises(ImageError) as caught:
        source.read(ref, CAP)
    assert caught.value.kind is ErrorKind.UNREADABLE


def test_a_forbidden_file(users_folder: Path) -> None:
    write_file(users_folder / "a.png", b"x").chmod(0)
    assert kind_of(users_folder, "a.png") is ErrorKind.UNREADABLE


def test_a_forbidden_folder_stops_the_listing(users_folder: Path) -> None:
    write_file(users_folder / "sub" / "a.png", b"x")
    (users_folder / "sub").chmod(0)
    with pytest.raises(UsageError, match="can't be listed"):
        listed(users_folder)


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
    (ref,) = source.list_refs()
    assert source.read(ref, CAP) == b"content"
    for unlinked in (outside.as_uri(), (tmp_path / "in" / ".." / "elsewhere" / "a.png").as_uri()):
        with pytest.raises(ImageError, match="out of the input folder"):
            source.read(ImageRef("a", unlinked), CAP)


@pytest.mark.parametrize("uri", ["https://example.org/a.png", "/etc/passwd", "file:///etc/passwd", "file:///etc/p%00"])
def test_an_address_elsewhere_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ImageError) as caught:
        FolderSource.at(tmp_path).read(ImageRef("a", uri), CAP)
    assert caught.value.kind is ErrorKind.UNREADABLE


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        FolderSource.at(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="not a folder"):
        FolderSource.at(write_file(tmp_path / "file", b""))


def test_a_machine_without_the_folder_is_told_apart(tmp_path: Path) -> None:
    source = FolderSource.at(tmp_path)
    source.check_visible()
    with pytest.raises(CapstanError, match="doesn't see the input folder"):
        FolderSource(tmp_path / "nowhere").check_visible()

from pathlib import Path

import pytest

from caption_core.errors import UsageError
from caption_core.training.dataset import load_split, read_captions, read_split

KAGGLE = 'image,caption\na.jpg,"A dog , running ."\na.jpg,A dog .\nb.jpg,A cat .\n'
TOKENS = "a.jpg#0\tA dog , running .\na.jpg#1\tA dog .\nb.jpg#0\tA cat .\n"


@pytest.mark.parametrize("text", [KAGGLE, TOKENS, KAGGLE.replace("\n", "\r\n"), TOKENS.replace("\n", "\r\n")])
def test_both_forms_give_the_same_captions(tmp_path: Path, text: str) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(text.encode())
    assert read_captions(path) == {"a.jpg": ["A dog , running .", "A dog ."], "b.jpg": ["A cat ."]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,caption\na.jpg\n", "row 2 has 1 fields"),
        ("a.jpg#0\tA dog .\nnonsense\n", "line 2"),
        ("", "holds no caption"),
        ("image,caption\n", "holds no caption"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "captions.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_captions(path)


def test_a_missing_or_binary_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.txt"):
        read_captions(tmp_path / "gone.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.txt"):
        read_captions(tmp_path / "binary.txt")


def test_a_split_joins_names_captions_and_files(tmp_path: Path) -> None:
    (tmp_path / "split.txt").write_text("b.jpg\n\na.jpg\n")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    images = load_split(tmp_path, {"a.jpg": ["x", "y"], "b.jpg": ["z"]}, tmp_path / "split.txt")
    assert images.names == ("b.jpg", "a.jpg")
    assert images.captions == (("z",), ("x", "y"))
    assert images.first(1).names == ("b.jpg",)


def test_images_without_caption_or_file_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "split.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(UsageError, match=r"1 images have no caption, the first is b\.jpg"):
        load_split(tmp_path, {"a.jpg": ["x"]}, tmp_path / "split.txt")
    with pytest.raises(UsageError, match=r"2 images have no file, the first is a\.jpg"):
        load_split(tmp_path, {"a.jpg": ["x"], "b.jpg": ["y"]}, tmp_path / "split.txt")


@pytest.mark.parametrize(("text", "message"), [("", "names no image"), ("a\na\n", "named twice")])
def test_a_useless_split_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "split.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_split(tmp_path / "split.txt")

from pathlib import Path

import pytest

from caption_core.errors import UsageError
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.training.dataset import CaptionedImages, load_split, read_captions

CAPTIONS = {"a.jpg": ["x", "y"], "b.jpg": ["z"], "c.jpg": ["u"]}


def quiet(_: str) -> None:
    """Takes lines of progress to nowhere."""


def split_of(folder: Path, *names: str, skip_missing: bool = False) -> CaptionedImages:
    return load_split(folder, CAPTIONS, "train", names, skip_missing=skip_missing, tell=quiet)


def test_several_files_of_captions_add_up(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("a.jpg#0\tA dog .\nb.jpg#0\tA cat .\n")
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,Another\n")
    files = [ReferenceFile(str(tmp_path / name)) for name in ("tokens.txt", "captions.csv")]
    assert read_captions(files) == {"a.jpg": ["A dog .", "Another"], "b.jpg": ["A cat ."]}


def test_a_file_without_captions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("image,caption\n")
    with pytest.raises(UsageError, match=r"captions\.txt: no caption in there"):
        read_captions([ReferenceFile(str(tmp_path / "captions.txt"))])


def test_a_split_joins_names_captions_and_files(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    images = split_of(tmp_path, "b.jpg", "a.jpg")
    assert images.names == ("b.jpg", "a.jpg")
    assert images.captions == (("z",), ("x", "y"))
    assert images.first(1).names == ("b.jpg",)


def test_images_may_lie_in_folders_of_the_folder(tmp_path: Path) -> None:
    for place in ("train2014/a.jpg", "val2014/b.jpg", "c.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    images = split_of(tmp_path, "b.jpg", "c.jpg", "a.jpg")
    assert images.names == ("val2014/b.jpg", "c.jpg", "train2014/a.jpg")
    assert images.captions == (("z",), ("u",), ("x", "y"))
    (tmp_path / "train2014" / "b.jpg").touch()
    with pytest.raises(UsageError, match=r"b\.jpg: a file of that name is both train2014/b\.jpg and val2014/b\.jpg"):
        split_of(tmp_path, "b.jpg")


def test_images_without_caption_or_file_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "d.jpg").touch()
    message = (
        rf"split train: of 4 images, 1 have no caption \(the first is d\.jpg\) and 2 have no file in {tmp_path} "
        r"\(the first is c\.jpg\); --skip-missing leaves such images out"
    )
    with pytest.raises(UsageError, match=message):
        split_of(tmp_path, "a.jpg", "c.jpg", "d.jpg", "b.jpg")


def test_images_without_caption_or_file_may_be_left_out_which_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    told = list[str]()
    images = load_split(tmp_path, CAPTIONS, "train", ["b.jpg", "a.jpg"], skip_missing=True, tell=told.append)
    assert images.names == ("a.jpg",)
    assert told == [f"split train: of 2 images, 1 have no file in {tmp_path} (the first is b.jpg): left out, 1 remain"]
    with pytest.raises(UsageError, match="of 1 images, 1 have no file"):
        split_of(tmp_path, "b.jpg", skip_missing=True)


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.jpg", "a/../../b.jpg"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="leads out of the folder"):
        split_of(tmp_path, name)

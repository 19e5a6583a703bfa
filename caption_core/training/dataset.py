"""Captioned image sets on disk: Flickr8k in the Kaggle and the original form, with the official splits."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caption_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """Images of one split and their reference captions.

    Attributes:
        folder: where the images are.
        names: file names, in the split file's order.
        captions: one tuple of captions a name, in the caption file's order.
    """

    folder: Path
    names: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def first(self, count: int | None) -> CaptionedImages:
        """The first `count` images; all of them for None."""
        return CaptionedImages(self.folder, self.names[:count], self.captions[:count])


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read captions by image name from a Kaggle `captions.txt` or an original `Flickr8k.token.txt`.

    Raises:
        UsageError: the file can't be read or has neither form; the message names the line.
    """
    captions: dict[str, list[str]] = {}
    try:
        for name, caption in _caption_lines(path):
            captions.setdefault(name, []).append(caption)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"captions {path}: {error}") from error
    if not captions:
        raise UsageError(f"captions {path}: the file holds no caption")
    return captions


def _caption_lines(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        header = file.readline()
        if header.strip().replace('"', "") == "image,caption":
            yield from _kaggle_rows(path, file)
            return
        file.seek(0)
        yield from _token_rows(path, file)


def _kaggle_rows(path: Path, file: Iterator[str]) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(csv.reader(file), start=2):
        if len(row) != 2:
            raise UsageError(f"captions {path}: row {number} has {len(row)} fields, not image,caption")
        yield row[0], row[1]


def _token_rows(path: Path, file: Iterator[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(file, start=1):
        key, tab, caption = line.rstrip("\r\n").partition("\t")
        name, mark, _ = key.rpartition("#")
        if not tab or not mark or not name:
            raise UsageError(
                f"captions {path}: line {number} is not NAME#k<TAB>caption, and the file has no 'image,caption' header"
            )
        yield name, caption


def read_split(path: Path) -> tuple[str, ...]:
    """Read a split file: one image name a line, blank lines ignored.

    Raises:
        UsageError: the file can't be read, is empty or names an image twice.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"split {path}: {error}") from error
    if not names:
        raise UsageError(f"split {path}: the file names no image")
    if len(set(names)) != len(names):
        raise UsageError(f"split {path}: an image is named twice")
    return names


def load_split(folder: Path, captions: dict[str, list[str]], split: Path) -> CaptionedImages:
    """Join a split with its captions, and check that every image has a caption and a file.

    Raises:
        UsageError: an image of the split has no caption or no file; the message counts them and names the first.
    """
    names = read_split(split)
    _require(split, "caption", [name for name in names if name not in captions])
    _require(split, "file", [name for name in names if not (folder / name).is_file()])
    return CaptionedImages(folder, names, tuple(tuple(captions[name]) for name in names))


def _require(split: Path, what: str, missing: list[str]) -> None:
    if missing:
        raise UsageError(f"split {split}: {len(missing)} images have no {what}, the first is {missing[0]}")

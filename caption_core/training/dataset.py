"""Captioned image sets on disk: a split's names joined with their captions and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from caption_core.errors import UsageError
from caption_core.metrics.reference_files import ReferenceFile


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """Images of one split and their reference captions.

    Attributes:
        folder: where the images are.
        names: paths of the files within the folder, in the split's order.
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


def read_captions(files: Iterable[ReferenceFile]) -> dict[str, list[str]]:
    """Captions by image name, of one file or of several that add to one another.

    Raises:
        UsageError: a file is not of its form, which the message places, or all of them hold no caption.
    """
    captions: dict[str, list[str]] = {}
    for file in files:
        for batch in file.batches(numeric_ids=False):
            for name, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                captions.setdefault(name, []).append(text)
    if not captions:
        raise UsageError(f"captions {', '.join(file.path for file in files)}: no caption in there")
    return captions


def load_split(
    folder: Path,
    captions: Mapping[str, Sequence[str]],
    split: str,
    names: Sequence[str],
    *,
    skip_missing: bool = False,
    tell: Callable[[str], None] = print,
) -> CaptionedImages:
    """Join a split with its captions and its files.

    Args:
        folder: holds the images, or folders that hold them, as COCO's `train2014` and `val2014` do.
        captions: by image name.
        split: what messages call the split.
        names: its images.
        skip_missing: leave out images without a caption or a file.
        tell: takes the line that says how many were left out.

    Raises:
        UsageError: an image of the split has no caption or no file, and these are not to be left out; or none is
            left. The message counts them and names the first.
    """
    places = locate_images(folder, names)
    found = [name for name in names if name in captions and name in places]
    if len(found) < len(names):
        lacking = _lacking(folder, split, names, captions, places)
        if not skip_missing or not found:
            raise UsageError(f"{lacking}" + ("" if skip_missing else "; --skip-missing leaves such images out"))
        tell(f"{lacking}: left out, {len(found)} remain")
    return CaptionedImages(folder, tuple(places[name] for name in found), tuple(tuple(captions[n]) for n in found))


def _lacking(
    folder: Path, split: str, names: Sequence[str], captions: Mapping[str, Sequence[str]], places: Mapping[str, str]
) -> str:
    parts = []
    for what, known in (("caption", captions), (f"file in {folder}", places)):
        if missing := [name for name in names if name not in known]:
            parts.append(f"{len(missing)} have no {what} (the first is {missing[0]})")
    return f"split {split}: of {len(names)} images, {' and '.join(parts)}"


def locate_images(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Path within the folder of each image that has a file there, or in a folder of that folder.

    Raises:
        UsageError: a name leads out of the folder, or two folders hold a file of that name.
    """
    places, absent = dict[str, str](), list[str]()
    for name in names:
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise UsageError(f"image {name}: the name leads out of the folder of images")
        if (folder / name).is_file():
            places[name] = name
        else:
            absent.append(name)
    return places | _locate_below(folder, absent) if absent else places


def _locate_below(folder: Path, names: Iterable[str]) -> dict[str, str]:
    below: dict[str, str] = {}
    wanted = set(names)
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        for name in wanted.intersection(path.name for path in inner.iterdir()):
            place = f"{inner.name}/{name}"
            if name in below:
                raise UsageError(f"image {name}: a file of that name is both {below[name]} and {place}")
            below[name] = place
    return below

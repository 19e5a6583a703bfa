"""From what the user names as inputs to one source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from caption_core.archive.sources.archive_files import check_archive_file, file_name
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.manifest import MANIFEST_EXTENSIONS, Manifest
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.parquet_images import ParquetImages, holds_images
from caption_core.archive.sources.patterns import split_pattern
from caption_core.archive.sources.remote_folder import RemoteFolder, list_matching
from caption_core.archive.sources.source import ImageSource
from caption_core.archive.sources.tar import TAR_EXTENSIONS, TarSource
from caption_core.archive.storage import is_remote
from caption_core.errors import UsageError

_ARCHIVE_EXTENSIONS = (*TAR_EXTENSIONS, *MANIFEST_EXTENSIONS)


def open_inputs(inputs: Sequence[str], options: InputOptions) -> CombinedSource:
    """The source of all inputs, in the order they are named.

    An input is a folder or a prefix in an object store, a tar, a Parquet file of images or a manifest, or a pattern
    (`*`, `?`, `[…]`, `**`) of image files or of archives.

    Raises:
        UsageError: one is missing, of no known kind, or can't be read with these options.
    """
    may_lack = replace(options, carry_where_there=len(inputs) > 1)
    named = [pair for text in inputs for pair in _open(text, may_lack)]
    source = CombinedSource(tuple(zip(_unique([name for name, _ in named]), (s for _, s in named), strict=True)))
    carried = source.carried().names
    for column, name in options.carry:
        if name not in carried:
            raise UsageError(f"no input has a column {column!r} to carry along")
    return source


def _open(text: str, options: InputOptions) -> Iterator[tuple[str, ImageSource]]:
    if "://" in text and not is_remote(text):
        raise UsageError(f"{text}: can't be listed; to caption what is on the web, list its addresses in a manifest")
    base, pattern = split_pattern(text)
    if pattern is None:
        yield file_name(base) or base, _open_one(base, options)
    elif _is_archive(pattern):
        files = list(_matching_archives(base, pattern, options))
        if not files:
            raise UsageError(f"{text}: no file matches")
        for name, location in files:
            yield name, _open_archive(location, options)
    else:
        yield file_name(base) or base, _open_folder(base, options, pattern)


def _open_one(text: str, options: InputOptions) -> ImageSource:
    if _is_archive(text) and not (not is_remote(text) and Path(text).is_dir()):
        check_archive_file(text)
        return _open_archive(text if is_remote(text) else str(Path(text).resolve()), options)
    if not is_remote(text) and Path(text).is_file():
        kinds = " ".join(_ARCHIVE_EXTENSIONS)
        raise UsageError(f"{text}: neither a folder nor an archive or a manifest ({kinds})")
    return _open_folder(text, options, None)


def _open_archive(location: str, options: InputOptions) -> ImageSource:
    if location.lower().endswith(TAR_EXTENSIONS):
        return TarSource.at(location, options)
    if location.lower().endswith(".parquet") and holds_images(location, options):
        return ParquetImages.at(location, options)
    return Manifest.at(location, options)


def _open_folder(text: str, options: InputOptions, pattern: str | None) -> ImageSource:
    if is_remote(text):
        return RemoteFolder.at(text, options, pattern)
    return FolderSource.at(Path(text), follow_links=options.follow_links, pattern=pattern)


def _matching_archives(base: str, pattern: str, options: InputOptions) -> Iterator[tuple[str, str]]:
    """Name below the base, and location, of the files that match, in order."""
    if is_remote(base):
        yield from list_matching(base, options, pattern)
        return
    folder = Path(base)
    for path in sorted(folder.glob(pattern)):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), str(path.resolve())


def _is_archive(text: str) -> bool:
    return text.lower().endswith(_ARCHIVE_EXTENSIONS)


def _unique(names: Sequence[str]) -> Iterator[str]:
    """The same names, and where one comes again, with a number."""
    taken = set(names)
    seen: set[str] = set()
    for name in names:
        number, label = 2, name
        while label in seen or (label != name and label in taken):
            label = f"{name}~{number}"
            number += 1
        seen.add(label)
        yield label

"""From what the user names as inputs to one source."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from caption_core.archive.sources.archive_files import check_archive_file, file_name
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.sources.file_names import name_to_text
from caption_core.archive.sources.folder import FolderSource, walk_files
from caption_core.archive.sources.manifest import MANIFEST_EXTENSIONS, Manifest
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.parquet_images import ParquetImages, holds_images
from caption_core.archive.sources.patterns import Pattern, split_pattern
from caption_core.archive.sources.remote_folder import RemoteFolder, list_matching
from caption_core.archive.sources.source import ImageSource
from caption_core.archive.sources.tar import TAR_EXTENSIONS, TarSource
from caption_core.archive.storage import is_remote
from caption_core.archive.store_errors import cause_of
from caption_core.errors import UsageError

_ARCHIVE_EXTENSIONS = (*TAR_EXTENSIONS, *MANIFEST_EXTENSIONS)

# Which option concerns which kinds of input, and how those are called.
_CONCERNED: tuple[tuple[str, Callable[[InputOptions], object], tuple[type[ImageSource], ...], str], ...] = (
    ("--image-root", lambda options: options.image_root, (Manifest,), "manifest"),
    ("--path-column", lambda options: options.path_column, (Manifest,), "manifest"),
    ("--image-column", lambda options: options.image_column, (ParquetImages,), "Parquet file of images"),
    (
        "--id-column",
        lambda options: options.id_column,
        (Manifest, ParquetImages),
        "manifest and no Parquet file of images",
    ),
)


def open_inputs(inputs: Sequence[str], options: InputOptions) -> CombinedSource:
    """The source of all inputs, in the order they are named.

    An input is a folder or a prefix in an object store, a tar, a Parquet file of images or a manifest, or a pattern
    (`*`, `?`, `[…]`, `**`) of image files or of archives.

    Raises:
        UsageError: one is missing, of no known kind, or can't be read with these options; or an option concerns none.
    """
    may_lack = replace(options, carry_where_there=len(inputs) > 1)
    named = [pair for text in inputs for pair in _open(text, may_lack)]
    _check_options([source for _, source in named], options)
    labels = _unique([name_to_text(os.fsencode(name)) for name, _ in named])
    source = CombinedSource(tuple(zip(labels, (source for _, source in named), strict=True)))
    carried = source.carried().names
    for column, name in options.carry:
        if name not in carried:
            raise UsageError(f"no input has a column {column!r} to carry along")
    return source


def _check_options(sources: Sequence[ImageSource], options: InputOptions) -> None:
    for option, value_of, kinds, called in _CONCERNED:
        if value_of(options) is not None and not any(isinstance(source, kinds) for source in sources):
            raise UsageError(f"{option}: no {called} among the inputs")


def _open(text: str, options: InputOptions) -> Iterator[tuple[str, ImageSource]]:
    if not text:
        raise UsageError("an empty text names no input; the working directory is .")
    if "://" in text and not is_remote(text):
        scheme = text.partition("://")[0]  # what follows may hold a password
        raise UsageError(
            f"{scheme}://…: can't be listed; to caption what is on the web, list its addresses in a manifest"
        )
    base, pattern = split_pattern(text)
    _check_path(base)
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


def _check_path(path: str) -> None:
    """See to it that this machine can look a path up; that nothing is there is told later, in words of its kind."""
    if is_remote(path):
        return
    try:
        os.stat(path)  # noqa: PTH116 - pathlib hides some of these errors
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be looked up: {cause_of(error)}") from error


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
    root, wanted = os.fsencode(Path(base).resolve()), Pattern(pattern)

    def name_of(path: bytes) -> str:
        return os.fsdecode(os.path.relpath(path, root))

    extensions = tuple(map(os.fsencode, _ARCHIVE_EXTENSIONS))
    for path in walk_files(root, extensions, lambda folder: wanted.may_hold(name_of(folder))):
        if wanted.matches(name_of(path)) and Path(os.fsdecode(path)).is_file():
            yield name_of(path), str(Path(os.fsdecode(path)).resolve())


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

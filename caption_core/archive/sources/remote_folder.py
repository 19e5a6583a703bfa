"""The image files below a prefix of an object store, or below a folder of a distributed file system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from caption_core.archive.refs import batches_of
from caption_core.archive.sources.folder import IMAGE_EXTENSIONS
from caption_core.archive.sources.locations import LocationReader
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.patterns import Pattern
from caption_core.archive.sources.source import ImageReader, SourceImage, no_beat
from caption_core.archive.storage import open_file_system
from caption_core.archive.store_errors import cause_of, is_denied
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ImageRef


class _File(NamedTuple):
    name: str  # below the prefix
    num_bytes: int


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """The image files below a prefix, by extension, in bytewise order of their paths.

    Names that start with a dot are left out, folders too. An address is its bucket and key as they stand; nothing in it
    is escaped.

    Args:
        location: address of the prefix, without a slash at its end.
        options: how to read.
        pattern: narrows what is listed, see `Pattern`; None for all images.
    """

    location: str
    options: InputOptions
    pattern: str | None = None

    @classmethod
    def at(cls, location: str, options: InputOptions, pattern: str | None = None) -> RemoteFolder:
        """The source of a prefix that must hold something.

        Raises:
            UsageError: it holds nothing, or can't be looked up; or the pattern can't be read.
        """
        folder = cls(location.rstrip("/"), options, pattern)
        if pattern is not None:
            Pattern(pattern)
        folder._check()
        return folder

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`; keeps the names of one folder at a time, and of those around it."""
        return batches_of(
            ImageRef(file.name, f"{self.location}/{file.name}", file.num_bytes)
            for file in self.files()
            if os.fsencode(file.name).lower().endswith(IMAGE_EXTENSIONS)
        )

    def files(self) -> Iterator[_File]:
        """All files that the pattern lets through, in bytewise order of their paths.

        Raises:
            UsageError: a folder can't be listed.
        """
        file_system, top = open_file_system(self.location)
        matcher = Pattern(self.pattern) if self.pattern is not None else None
        open_folders = [self._entries(file_system, top, "")]
        while open_folders:
            entry = next(open_folders[-1], None)
            if entry is None:
                open_folders.pop()
            elif isinstance(entry, _File):
                if matcher is None or matcher.matches(entry.name):
                    yield entry
            elif matcher is None or matcher.may_hold(entry):
                open_folders.append(self._entries(file_system, top, f"{entry}/"))

    def carried(self) -> pa.Schema:
        """See `ImageSource`: nothing."""
        return pa.schema([])

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        try:
            self._check()
        except UsageError as error:
            raise CapstanError(f"{error} (on {os.uname().nodename})") from error
        return _RemoteReader(self.options)

    def version(self) -> str:
        """See `ImageSource`: nothing."""
        return ""

    def locations(self) -> Sequence[str]:
        """See `ImageSource`."""
        return [self.location]

    def _check(self) -> None:
        file_system, path = open_file_system(self.location)
        try:
            kind = file_system.get_file_info(path).type
        except (OSError, ValueError) as error:
            raise self._unlistable(error) from error
        if kind == fs.FileType.NotFound:
            raise UsageError(f"{self.location}: nothing is there")
        if kind == fs.FileType.File:
            raise UsageError(f"{self.location}: a file, not a folder or prefix")

    def _entries(self, file_system: fs.FileSystem, top: str, prefix: str) -> Iterator[_File | str]:
        """What lies directly below a folder: files, and names of folders; in the order of the paths below it."""
        try:
            found = _listed(file_system, f"{top}/{prefix}".rstrip("/"))
        except (OSError, ValueError) as error:
            raise self._unlistable(error) from error
        for name in sorted(found):  # text sorts as its UTF-8 does
            if not any(part.startswith(".") for part in name.split("/")):
                yield f"{prefix}{name[:-1]}" if name.endswith("/") else _File(f"{prefix}{name}", found[name])

    def _unlistable(self, error: Exception) -> UsageError:
        hint = "; has this machine the right keys?" if is_denied(error) else ""
        return UsageError(f"{self.location}: can't be listed: {cause_of(error)}{hint}")


class _RemoteReader:
    def __init__(self, options: InputOptions) -> None:
        self._locations = LocationReader(options)

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """See `ImageReader`; nothing to prepare."""

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        """See `ImageReader`."""
        try:
            return SourceImage(self._locations.read(ref.uri, max_bytes))
        except ImageError as error:
            return SourceImage(error)

    def close(self) -> None:
        """See `ImageReader`."""
        self._locations.close()


def list_matching(location: str, options: InputOptions, pattern: str) -> Iterator[tuple[str, str]]:
    """Name below a prefix, and address, of the files that match a pattern, whatever their extension; in order.

    Raises:
        UsageError: see `RemoteFolder.at`, and a folder that can't be listed.
    """
    folder = RemoteFolder.at(location, options, pattern)
    for file in folder.files():
        yield file.name, f"{folder.location}/{file.name}"


def _listed(file_system: fs.FileSystem, folder: str) -> dict[str, int]:
    """Names and sizes of what lies directly in a folder; with its slash a folder's name sorts among the files' names as
    the paths below it do."""
    infos = file_system.get_file_info(fs.FileSelector(folder))
    named = [info for info in infos if info.path.rstrip("/") != folder]
    found = {info.base_name + "/" * (info.type == fs.FileType.Directory): int(info.size or 0) for info in named}
    if len(named) < len(infos):
        found |= _nameless(file_system, folder)
    return found


def _nameless(file_system: fs.FileSystem, folder: str) -> dict[str, int]:
    """The files below 'folder//', which PyArrow takes for the folder itself: they can be listed, though not opened, and
    each must end as a row."""
    below = file_system.get_file_info(fs.FileSelector(folder, recursive=True))
    files = [info for info in below if info.type == fs.FileType.File]
    return {info.path[len(folder) + 1 :]: int(info.size) for info in files if info.path.startswith(f"{folder}//")}

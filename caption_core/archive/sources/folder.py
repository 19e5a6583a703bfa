"""A folder of image files, searched recursively."""

# Names are bytes here, since not every name is text; pathlib knows only text.
# ruff: noqa: PTH114, PTH115, PTH116, PTH118

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pyarrow as pa

from caption_core.archive.refs import batches_of
from caption_core.archive.sources.file_names import name_to_text
from caption_core.archive.sources.patterns import Pattern
from caption_core.archive.sources.source import ImageReader, SourceImage, no_beat
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef

IMAGE_EXTENSIONS = (
    *(b".jpg", b".jpeg", b".png", b".webp", b".gif", b".bmp", b".tif", b".tiff"),
    *(b".avif", b".heic", b".heif"),  # listed where they can't be decoded too: a failed row then says what is missing
)

_SCHEME = "file://"

_PIECE = 1 << 16  # of a file that has grown, or comes in pieces


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The image files below a folder, by extension, in bytewise order of their paths.

    Names that start with a dot are left out, folders too. A folder is entered, whatever its name; a link to a folder
    is not, which also keeps out cycles and what lies elsewhere. A folder, or a link to one, that is named as an image
    is a failed row. A link to a file is read if the file lies in this folder, and is a failed row otherwise, unless
    links are to be followed.

    Args:
        root: the folder, as an absolute path without links.
        follow_links: read files outside the folder too, where a link leads to them.
        pattern: narrows what is listed, see `Pattern`; None for all images.
    """

    root: Path
    follow_links: bool = False
    pattern: str | None = None

    @classmethod
    def at(cls, folder: Path, *, follow_links: bool = False, pattern: str | None = None) -> FolderSource:
        """The source of a folder that must exist.

        Args:
            folder: where the images are.
            follow_links: see the class.
            pattern: see the class.

        Raises:
            UsageError: it doesn't, or is no folder; or the pattern can't be read.
        """
        if not folder.exists():
            raise UsageError(f"{folder}: no such folder")
        if not folder.is_dir():
            raise UsageError(f"{folder}: not a folder")
        if pattern is not None:
            Pattern(pattern)
        return cls(folder.resolve(), follow_links, pattern)

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`; keeps one folder's names at a time."""
        return batches_of(self._refs())

    def carried(self) -> pa.Schema:
        """See `ImageSource`: nothing."""
        return pa.schema([])

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        if not self.root.is_dir():
            raise CapstanError(
                f"{self.root}: this machine ({os.uname().nodename}) doesn't see the input folder; "
                "a cluster's machines must share it under the same path"
            )
        return _FolderReader(self)

    def version(self) -> str:
        """See `ImageSource`: nothing."""
        return ""

    def locations(self) -> Sequence[str]:
        """See `ImageSource`."""
        return [str(self.root)]

    def read_file(self, ref: ImageRef, max_bytes: int) -> bytes:
        """An image's bytes.

        Raises:
            ImageError: NOT_FOUND, UNREADABLE, REFUSED, EMPTY or TOO_MANY_BYTES.
        """
        path = _path(ref.uri)
        try:
            if os.path.islink(path) or not self._names_inside(path):
                self._check_inside(path, os.path.realpath(path, strict=True))
                return read_local_file(path, max_bytes)
            return read_local_file(path, max_bytes, self._check_inside)
        except (OSError, ValueError) as error:
            raise local_file_error(path, error) from error

    def _refs(self) -> Iterator[ImageRef]:
        root = os.fsencode(self.root)
        pattern = None if self.pattern is None else Pattern(self.pattern)

        def may_hold(folder: bytes) -> bool:
            return pattern is None or pattern.may_hold(os.fsdecode(os.path.relpath(folder, root)))

        for path in walk_files(root, IMAGE_EXTENSIONS, may_hold):
            name = os.path.relpath(path, root)
            if pattern is None or pattern.matches(os.fsdecode(name)):
                yield ImageRef(name_to_text(name), _uri(path), _size(path))

    def _names_inside(self, path: bytes) -> bool:
        return os.path.normpath(path).startswith(os.path.join(os.fsencode(self.root), b""))

    def _check_inside(self, path: bytes, real_path: bytes) -> None:
        if real_path.startswith(os.path.join(os.fsencode(self.root), b"")):
            return
        if not (self.follow_links and os.path.islink(path)):
            raise ImageError(ErrorKind.REFUSED, "a link that leads out of the input folder")


class _FolderReader:
    def __init__(self, source: FolderSource) -> None:
        self._source = source

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """See `ImageReader`; nothing to prepare."""

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        """See `ImageReader`."""
        try:
            return SourceImage(self._source.read_file(ref, max_bytes))
        except ImageError as error:
            return SourceImage(error)

    def close(self) -> None:
        """See `ImageReader`; nothing is open."""


def read_local_file(path: bytes, max_bytes: int, check: Callable[[bytes, bytes], None] | None = None) -> bytes:
    """Read a regular file under a cap.

    Args:
        path: of the file.
        max_bytes: that it may have.
        check: called with the path and where it leads to, of a file that was opened; raises where it must not be read.

    Raises:
        ImageError: UNREADABLE (no regular file), EMPTY or TOO_MANY_BYTES.
        OSError: it can't be read; `local_file_error` has the words.
    """
    # Without O_NONBLOCK, opening a named pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        # Looked at before it is opened as a file: of a folder, Python would leave the descriptor open.
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(ErrorKind.UNREADABLE, "not a regular file")
        if check is not None:
            check(path, _real_path(path, descriptor))
        data = _read(descriptor, status.st_size, max_bytes) if status.st_size <= max_bytes else b""
    finally:
        os.close(descriptor)
    if status.st_size > max_bytes or len(data) > max_bytes:
        raise ImageError(ErrorKind.TOO_MANY_BYTES, f"{status.st_size:,} bytes, more than the {max_bytes:,} allowed")
    if not data:
        raise ImageError(ErrorKind.EMPTY, "zero bytes")
    return data


def _read(descriptor: int, size: int, max_bytes: int) -> bytes:
    """All of a file, up to a byte more than allowed: it may have grown since its size was taken."""
    data = os.read(descriptor, size + 1)
    while 0 < len(data) <= max_bytes and (more := os.read(descriptor, min(_PIECE, max_bytes + 1 - len(data)))):
        data += more
    return data


def _real_path(path: bytes, descriptor: int) -> bytes:
    """Where an open file lies, without links."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)
    except OSError:  # not on Linux
        return os.path.realpath(path, strict=True)


def local_file_error(path: bytes, error: Exception) -> ImageError:
    """What an image ends with whose file raised this."""
    if isinstance(error, FileNotFoundError):
        cause = "link to a file that doesn't exist" if os.path.islink(path) else "no such file"
        return ImageError(ErrorKind.NOT_FOUND, cause)
    return ImageError(ErrorKind.UNREADABLE, _cause(error))


def walk_files(folder: bytes, extensions: tuple[bytes, ...], may_hold: Callable[[bytes], bool]) -> Iterator[bytes]:
    """The paths of what is named with these extensions below a folder, in bytewise order; names that start with a dot
    are left out, and only folders that may hold some are entered.

    A folder that is named so is yielded, so that a row says it is no image, and entered all the same.

    Raises:
        UsageError: a folder can't be listed.
    """
    with _scan(folder) as entries:
        # Names alone are kept: a folder may hold millions.
        names = sorted(name for entry in entries for name in _names(entry))
    for name in names:
        if name.startswith(b"."):
            continue
        path = os.path.join(folder, name)
        if name.endswith(b"/"):
            if may_hold(path[:-1]):
                yield from walk_files(path[:-1], extensions, may_hold)
        elif name.lower().endswith(extensions):
            yield path


def _names(entry: os.DirEntry[bytes]) -> list[bytes]:
    """An entry's name, and for a folder the name with a slash: among the others it sorts as the paths below it do."""
    return [entry.name, entry.name + b"/"] if entry.is_dir(follow_symlinks=False) else [entry.name]


def _scan(folder: bytes) -> AbstractContextManager[Iterator[os.DirEntry[bytes]]]:
    try:
        return os.scandir(folder)
    except OSError as error:
        # A folder that can't be listed hides an unknown number of images: no row could stand for them.
        raise UsageError(f"{os.fsdecode(folder)!r}: this folder can't be listed: {error.strerror}") from error


def _size(path: bytes) -> int:
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _uri(path: bytes) -> str:
    return _SCHEME + quote_from_bytes(path)


def _path(uri: str) -> bytes:
    if not uri.startswith(_SCHEME):
        raise ImageError(ErrorKind.UNREADABLE, f"not a {_SCHEME} address")
    return unquote_to_bytes(uri[len(_SCHEME) :])


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a link that leads to itself"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

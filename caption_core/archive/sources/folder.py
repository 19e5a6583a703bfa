"""A folder of image files, searched recursively."""

# Names are bytes here, since not every name is text; pathlib knows only text.
# ruff: noqa: PTH114, PTH118, PTH123

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from caption_core.archive.sources.file_names import name_to_text
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef

IMAGE_EXTENSIONS = (b".jpg", b".jpeg", b".png", b".webp", b".gif", b".bmp", b".tif", b".tiff")

_SCHEME = "file://"


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The image files below a folder, by extension, in bytewise order of their paths.

    Names that start with a dot are left out, folders too. A folder is entered, whatever its name; a link to a folder
    is not, which also keeps out cycles and what lies elsewhere. A link to a file is read if the file lies in this
    folder, and is a failed row otherwise, unless links are to be followed.

    Args:
        root: the folder, as an absolute path without links.
        follow_links: read files outside the folder too, where a link leads to them.
    """

    root: Path
    follow_links: bool = False

    @classmethod
    def at(cls, folder: Path, *, follow_links: bool = False) -> FolderSource:
        """The source of a folder that must exist.

        Args:
            folder: where the images are.
            follow_links: see the class.

        Raises:
            UsageError: it doesn't, or is no folder.
        """
        if not folder.exists():
            raise UsageError(f"{folder}: no such folder")
        if not folder.is_dir():
            raise UsageError(f"{folder}: not a folder")
        return cls(folder.resolve(), follow_links)

    def list_refs(self) -> Iterator[ImageRef]:
        """See `ImageSource`; reads one folder's entries at a time."""
        root = os.fsencode(self.root)
        for path, num_bytes in _walk(root):
            yield ImageRef(name_to_text(os.path.relpath(path, root)), _uri(path), num_bytes)

    def read(self, ref: ImageRef, max_bytes: int) -> bytes:
        """See `ImageSource`."""
        path = _path(ref.uri)
        try:
            self._check_inside(path)
            return _read(path, max_bytes)
        except FileNotFoundError as error:
            kind = "link to a file that doesn't exist" if os.path.islink(path) else "no such file"
            raise ImageError(ErrorKind.NOT_FOUND, kind) from error
        except (OSError, ValueError) as error:
            raise ImageError(ErrorKind.UNREADABLE, _cause(error)) from error

    def check_visible(self) -> None:
        """See `ImageSource`."""
        if not self.root.is_dir():
            raise CapstanError(
                f"{self.root}: this machine ({os.uname().nodename}) doesn't see the input folder; "
                "a cluster's machines must share it under the same path"
            )

    def _check_inside(self, path: bytes) -> None:
        target = os.path.realpath(path, strict=True)
        if self.follow_links and os.path.islink(path):
            return
        if not target.startswith(os.path.join(os.fsencode(self.root), b"")):
            raise ImageError(ErrorKind.UNREADABLE, "a link that leads out of the input folder")


def _walk(folder: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield (path, size) of the image files below a folder, in bytewise order of the paths."""
    with _scan(folder) as entries:
        # With its slash a folder's name sorts among the files' names as the paths below it do.
        found = sorted((entry.name + b"/" if _is_folder(entry) else entry.name, entry) for entry in entries)
    for name, entry in found:
        if name.startswith(b"."):
            continue
        if name.endswith(b"/"):
            yield from _walk(entry.path)
        elif name.lower().endswith(IMAGE_EXTENSIONS) and not _is_link_to_folder(entry):
            yield entry.path, _size(entry)


def _scan(folder: bytes) -> AbstractContextManager[Iterator[os.DirEntry[bytes]]]:
    try:
        return os.scandir(folder)
    except OSError as error:
        # A folder that can't be listed hides an unknown number of images: no row could stand for them.
        raise UsageError(f"{os.fsdecode(folder)!r}: this folder can't be listed: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _is_link_to_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:
        return False


def _size(entry: os.DirEntry[bytes]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1


def _uri(path: bytes) -> str:
    return _SCHEME + quote_from_bytes(path)


def _path(uri: str) -> bytes:
    if not uri.startswith(_SCHEME):
        raise ImageError(ErrorKind.UNREADABLE, f"not a {_SCHEME} address")
    return unquote_to_bytes(uri[len(_SCHEME) :])


def _read(path: bytes, max_bytes: int) -> bytes:
    # Without O_NONBLOCK, opening a named pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(ErrorKind.UNREADABLE, "not a regular file")
        # One byte more than allowed: a file may have grown since its size was taken.
        data = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
    if status.st_size > max_bytes or len(data) > max_bytes:
        raise ImageError(ErrorKind.TOO_MANY_BYTES, f"{status.st_size:,} bytes, more than the {max_bytes:,} allowed")
    if not data:
        raise ImageError(ErrorKind.EMPTY, "zero bytes")
    return data


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a link that leads to itself"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

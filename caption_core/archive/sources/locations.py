"""One image from wherever its address leads: this machine's files, object stores, the web."""

# Names are bytes here, since not every name is text; pathlib knows only text.
# ruff: noqa: PTH100

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from pyarrow import fs

from caption_core.archive.sources.folder import local_file_error, read_local_file
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.storage import is_remote, open_store, path_in, split_address
from caption_core.archive.store_errors import image_error_of
from caption_core.errors import ImageError, UsageError
from caption_core.records import ErrorKind

if TYPE_CHECKING:
    from caption_core.archive.sources.web import WebReader

_WEB = ("http", "https")


class LocationReader:
    """Reads images by their addresses; keeps connections open between them. Several threads may read.

    - `/photos/a.jpg` and `file:///photos/a.jpg` (percent-decoded): files of this machine;
    - `s3://bucket/a.jpg` and the like (as it stands, nothing is decoded): through PyArrow, which tries again by itself
      where a store is busy;
    - `https://example.org/a.jpg`: see `WebReader`.

    Args:
        options: whether links may lead out of a folder, and what the web may cost.
    """

    def __init__(self, options: InputOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._stores: dict[str, tuple[fs.FileSystem, str]] = {}
        self._web: WebReader | None = None

    def read(self, uri: str, max_bytes: int, within: Path | None = None) -> bytes:
        """An image's bytes.

        Args:
            uri: an address, or an absolute path.
            max_bytes: a larger image is not read.
            within: for a local file: the folder that it must lie in, links followed unless they may lead out.

        Raises:
            ImageError: NOT_FOUND, UNREADABLE, EMPTY, TOO_MANY_BYTES, BAD_REFERENCE, REFUSED or DOWNLOAD_FAILED.
        """
        scheme = uri.partition(":")[0].lower()
        if uri.startswith("/") or scheme == "file":
            return self._read_file(_path(uri), max_bytes, within)
        if is_remote(uri):
            return self._read_object(uri, max_bytes)
        if scheme in _WEB:
            return self._web_reader().read(uri, max_bytes)
        raise ImageError(ErrorKind.BAD_REFERENCE, "neither an absolute path nor an address of a known kind")

    def close(self) -> None:
        """Let go of files and connections."""
        with self._lock:
            self._stores = {}
            if self._web is not None:
                self._web.close()
                self._web = None

    def _read_file(self, path: bytes, max_bytes: int, within: Path | None) -> bytes:
        checked = path if within is None else _checked(path, os.fsencode(within), self._options.follow_links)
        try:
            return read_local_file(checked, max_bytes)
        except (OSError, ValueError) as error:
            raise local_file_error(path, error) from error

    def _read_object(self, uri: str, max_bytes: int) -> bytes:
        root, key = split_address(uri)
        if not key or key.endswith("/"):
            raise ImageError(ErrorKind.BAD_REFERENCE, "the address of a bucket or a folder, not of an object")
        file_system, top = self._store(root)
        try:
            with file_system.open_input_file(path_in(file_system, top, key)) as file:
                size = file.size()
                data = bytes(file.read()) if size <= max_bytes else b""
        except (OSError, ValueError) as error:
            raise image_error_of(error) from error
        if size > max_bytes:
            raise ImageError(ErrorKind.TOO_MANY_BYTES, f"{size:,} bytes, more than the {max_bytes:,} allowed")
        if not data:
            raise ImageError(ErrorKind.EMPTY, "zero bytes")
        return data

    def _store(self, root: str) -> tuple[fs.FileSystem, str]:
        with self._lock:
            if root not in self._stores:
                self._stores[root] = _open_store(root)
            return self._stores[root]

    def _web_reader(self) -> WebReader:
        # Here, since only those who read from the web need urllib3.
        from caption_core.archive.sources.web import WebReader

        with self._lock:
            if self._web is None:
                self._web = WebReader(self._options.web)
            return self._web


def _path(uri: str) -> bytes:
    """The path that an absolute path or a file address names."""
    if uri.startswith("/"):
        path = os.fsencode(uri)
    else:
        rest = uri.partition(":")[2]
        host, slash, path_text = rest.removeprefix("//").partition("/") if rest.startswith("//") else ("", "", rest)
        if host.lower() not in ("", "localhost"):
            raise ImageError(ErrorKind.BAD_REFERENCE, "a file address of another machine")
        path = unquote_to_bytes(slash + path_text)
    if not path.startswith(b"/") or b"\0" in path:
        raise ImageError(ErrorKind.BAD_REFERENCE, "not an absolute path")
    return path


def _checked(path: bytes, folder: bytes, follow_links: bool) -> bytes:
    """The path to open, which is the one that was looked at: inside the folder, whatever links and '..' lead there.

    Where links may lead out, the path as written has to lie in the folder.
    """
    resolved, inside = os.path.realpath(path), os.path.realpath(folder)
    if _lies_in(resolved, inside):
        return resolved
    plain = os.path.normpath(path)
    if not _lies_in(plain, os.path.abspath(folder)) and not _lies_in(plain, inside):
        raise ImageError(ErrorKind.REFUSED, "outside of the folder that it must lie in")
    if not follow_links:
        raise ImageError(ErrorKind.REFUSED, "a link that leads out of the folder that it must lie in")
    return plain


def _lies_in(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder.rstrip(b"/") + b"/")


def _open_store(root: str) -> tuple[fs.FileSystem, str]:
    try:
        return open_store(root)
    except UsageError as error:
        if isinstance(error.__cause__, OSError):
            raise image_error_of(error.__cause__) from error
        raise ImageError(ErrorKind.REFUSED, str(error)) from error

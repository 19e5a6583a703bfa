"""Files that hold many images (tars, Parquet files, manifests), local or in an object store."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes

import pyarrow as pa
from pyarrow import fs

from caption_core.archive.storage import is_remote, open_file_system
from caption_core.archive.store_errors import cause_of
from caption_core.errors import CapstanError, UsageError


def open_archive_file(location: str) -> pa.NativeFile:
    """A file for random access; several threads may `read_at` it.

    Args:
        location: an absolute path, or an address such as s3://bucket/photos.tar.

    Raises:
        CapstanError: it can't be opened here.
    """
    try:
        file_system, path = _located(location)
        return file_system.open_input_file(path)
    except OSError as error:
        raise CapstanError(f"{location}: can't be opened: {cause_of(error)}") from error


def check_archive_file(location: str) -> None:
    """See to it that a file is there.

    Raises:
        UsageError: it isn't.
    """
    file_system, path = _located(location)
    try:
        kind = file_system.get_file_info(path).type
    except (OSError, UnicodeEncodeError) as error:
        raise UsageError(f"{location!r}: can't be looked up: {cause_of(error)}") from error
    if kind == fs.FileType.NotFound:
        raise UsageError(f"{location}: no such file")
    if kind == fs.FileType.Directory:
        raise UsageError(f"{location}: a folder, not a file")
    if kind != fs.FileType.File:
        raise UsageError(f"{location}: not a regular file")


def file_uri(location: str) -> str:
    """A file as a URI: addresses stay as they are, paths become file:///…"""
    return location if is_remote(location) else "file://" + quote_from_bytes(os.fsencode(location))


def file_name(location: str) -> str:
    """The last component of a path or an address."""
    return location.rstrip("/").rpartition("/")[2]


def _located(location: str) -> tuple[fs.FileSystem, str]:
    if is_remote(location):
        return open_file_system(location)
    return fs.LocalFileSystem(), str(Path(location).absolute())

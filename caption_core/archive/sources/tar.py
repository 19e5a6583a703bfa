"""A tar of images, plain or gzipped, in WebDataset's form or any other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from caption_core.archive.refs import batches_of
from caption_core.archive.sources.archive_files import check_archive_file, file_name, file_uri, open_archive_file
from caption_core.archive.sources.file_names import name_to_text
from caption_core.archive.sources.gzip_access import GZIP_MAGIC, GzipAccess
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.random_access import AheadAccess, BlockAccess, RandomAccess, StoredAccess
from caption_core.archive.sources.source import ImageReader
from caption_core.archive.sources.tar_headers import BLOCK_BYTES, is_tar_start
from caption_core.archive.sources.tar_listing import key_of, list_tar
from caption_core.archive.sources.tar_reader import TarReader
from caption_core.archive.storage import is_remote
from caption_core.archive.store_errors import cause_of
from caption_core.errors import CapstanError, UsageError
from caption_core.records import ImageRef

TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz")

_CARRIED = pa.schema([("key", pa.string()), ("json", pa.string()), ("txt", pa.string())])

# A request to an object store costs as much as some MB of transfer; a local read costs next to nothing.
_REMOTE_BLOCK_BYTES = 4 << 20
_REMOTE_BLOCKS_AHEAD = 7
_LOCAL_BLOCK_BYTES = 1 << 14
_OTHER_MAGICS = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


@dataclass(frozen=True, slots=True)
class TarSource:
    """The image members of a tar, by extension, in the archive's order.

    Members whose name, or a folder's in it, starts with a dot are left out. Members whose names agree up to the first
    dot after the last slash belong together: an image carries the `.json` and the `.txt` member of its group along,
    wherever in the archive they are. Nothing is ever unpacked to disk.

    Args:
        location: an absolute path, or an address.
        gzipped: whether it is compressed, whatever its name says.
    """

    location: str
    gzipped: bool = False

    @classmethod
    def at(cls, location: str, options: InputOptions) -> TarSource:  # noqa: ARG003 - as all sources of files
        """The source of a tar that must exist.

        Args:
            location: see the class.
            options: none of them concerns tars.

        Raises:
            UsageError: it isn't there, or isn't a tar.
        """
        check_archive_file(location)
        try:
            return cls._recognized(location)
        except OSError as error:
            raise _not_listed(location, error) from error
        except CapstanError as error:
            raise UsageError(str(error)) from error

    @classmethod
    def _recognized(cls, location: str) -> TarSource:
        start, damage = _read_start(location, gzipped=False)
        gzipped = start.startswith(GZIP_MAGIC)
        if gzipped:
            start, damage = _read_start(location, gzipped=True)
        if not is_tar_start(start):
            raise UsageError(f"{location}: not a tar{' in gzip' if gzipped else ''}: {damage or _appearance(start)}")
        return cls(location, gzipped)

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`; 40 bytes a .json or .txt member are kept until a tar is listed."""
        return batches_of(self._refs())

    def carried(self) -> pa.Schema:
        """See `ImageSource`: the group's name, and its members' text."""
        return _CARRIED

    def carried_in(self, ref: ImageRef) -> Mapping[str, Any]:
        """See `CarryingRefs`: the group's name."""
        return {"key": key_of(ref.uri)}

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        content = _open(self.location, gzipped=self.gzipped, forwards=False)
        return TarReader(content, forwards=self.gzipped, remote=is_remote(self.location))

    def version(self) -> str:
        """See `ImageSource`: nothing."""
        return ""

    def locations(self) -> Sequence[str]:
        """See `ImageSource`."""
        return [self.location]

    def _refs(self) -> Iterator[ImageRef]:
        name = name_to_text(os.fsencode(file_name(self.location)))
        try:
            content = _open(self.location, gzipped=self.gzipped, forwards=True)
            try:
                yield from list_tar(content, file_uri(self.location), name)
            finally:
                content.close()
        except OSError as error:
            raise _not_listed(self.location, error) from error
        except CapstanError as error:
            raise UsageError(str(error)) from error


def _open(location: str, *, gzipped: bool, forwards: bool) -> RandomAccess:
    stored: RandomAccess = StoredAccess(open_archive_file(location))
    if forwards and is_remote(location):
        stored = AheadAccess(stored, _REMOTE_BLOCKS_AHEAD)
    if gzipped or forwards:
        stored = BlockAccess(stored, _REMOTE_BLOCK_BYTES if is_remote(location) else _LOCAL_BLOCK_BYTES)
    return GzipAccess(stored) if gzipped else stored


def _read_start(location: str, *, gzipped: bool) -> tuple[bytes, str | None]:
    """What could be the first header, and the damage met in reading it."""
    content = _open(location, gzipped=gzipped, forwards=False)
    try:
        return content.read_at(BLOCK_BYTES, 0), content.damage
    finally:
        content.close()


def _appearance(start: bytes) -> str:
    if len(start) < BLOCK_BYTES:
        return f"{len(start)} bytes, too few for one"
    for magic, name in _OTHER_MAGICS.items():
        if start.startswith(magic):
            return f"compressed with {name}; what can be read are plain and gzipped tars"
    return "it doesn't begin with a tar's header"


def _not_listed(location: str, error: OSError) -> UsageError:
    return UsageError(f"{location}: can't be listed: {cause_of(error)}")

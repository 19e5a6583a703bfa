"""Parquet files that are read row group by row group, in little memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.archive.sources.archive_files import open_archive_file
from caption_core.archive.storage import is_remote
from caption_core.archive.store_errors import cause_of
from caption_core.errors import CapstanError, UsageError

# What reading and decoding raise, according to what is damaged. ArrowInvalid is a ValueError.
DECODING_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError)

# With a buffer, a column chunk is read page by page; without one it is read whole, which may be gigabytes. An object
# store answers each request after tens of milliseconds, so there it is worth more memory.
_BUFFER_BYTES = 1 << 20
_REMOTE_BUFFER_BYTES = 8 << 20

# Holds the footer of most files, so that one request to an object store is enough.
_FIRST_TAIL_BYTES = 1 << 16

# Above, it is not a footer's length that stands at the end of the file.
_LARGEST_FOOTER_BYTES = 1 << 30

# Rows decoded at once when a file is listed; where that fails, the row group is read again in smaller steps, to lose
# no row that comes before the damage.
_LISTING_STEPS = (65_536, 256, 1)


@dataclass(frozen=True, slots=True)
class ParquetLayout:
    """What a Parquet file's footer says.

    Attributes:
        schema: as Arrow sees it.
        num_rows: in all row groups.
        signature: of the footer and the file's size; another file under the same name has another one.
    """

    schema: pa.Schema
    num_rows: int
    signature: str


@dataclass(frozen=True, slots=True)
class LostRows:
    """Rows that can't be decoded.

    Attributes:
        num_rows: how many.
        cause: in words.
    """

    num_rows: int
    cause: str


def read_layout(location: str) -> ParquetLayout:
    """Look at a file's footer.

    Raises:
        UsageError: it can't be read, or is no Parquet file.
    """
    try:
        size, tail = _read_tail(location)
        with pq.ParquetFile(pa.BufferReader(tail)) as footer:
            return ParquetLayout(footer.schema_arrow, footer.metadata.num_rows, _signature(size, tail))
    except (CapstanError, *DECODING_ERRORS) as error:
        raise _unlistable(location, error) from error


def read_signature(location: str) -> str:
    """What tells a file from another one under the same name.

    Raises:
        CapstanError: it can't be opened here.
        OSError: it can't be read.
    """
    return _signature(*_read_tail(location))


def open_parquet(location: str) -> pq.ParquetFile:
    """A Parquet file that holds a page of each column it reads in memory, not more.

    Raises:
        CapstanError: it can't be opened here.
        pyarrow.ArrowException, OSError, ValueError: it is no Parquet file, or damaged.
    """
    file = open_archive_file(location)
    try:
        return pq.ParquetFile(
            file,
            buffer_size=_REMOTE_BUFFER_BYTES if is_remote(location) else _BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
    except BaseException:
        file.close()
        raise


def open_for_listing(location: str) -> pq.ParquetFile:
    """Like `open_parquet`.

    Raises:
        UsageError: it can't be opened, or is no Parquet file.
    """
    try:
        return open_parquet(location)
    except (CapstanError, *DECODING_ERRORS) as error:
        raise _unlistable(location, error) from error


def row_batches(parquet: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch | LostRows]:
    """All rows in order, as the footer counts them, whatever can be decoded of them.

    Args:
        parquet: an open file.
        columns: to read; with a dot before a child of a struct.
    """
    for group in range(parquet.num_row_groups):
        yield from _group_batches(parquet, group, columns)


def _read_tail(location: str) -> tuple[int, bytes]:
    """A file's size in bytes, and its end: the footer, its length and the magic bytes."""
    with open_archive_file(location) as file:
        size = file.size()
        tail = bytes(file.read_at(min(size, _FIRST_TAIL_BYTES), max(size - _FIRST_TAIL_BYTES, 0)))
        num_bytes = min(int.from_bytes(tail[-8:-4], "little") + 8, size, _LARGEST_FOOTER_BYTES)
        if num_bytes > len(tail):
            tail = bytes(file.read_at(num_bytes, size - num_bytes))
    return size, tail[len(tail) - num_bytes :]


def _unlistable(location: str, error: Exception) -> UsageError:
    if isinstance(error, CapstanError):
        return UsageError(str(error))
    return UsageError(f"{location}: not a Parquet file that can be read: {cause_of(error)}")


def _signature(size: int, tail: bytes) -> str:
    return f"{size}:{hashlib.sha256(tail).hexdigest()[:32]}"


def _group_batches(parquet: pq.ParquetFile, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch | LostRows]:
    num_rows = parquet.metadata.row_group(group).num_rows
    done, cause = 0, ""
    for step in _LISTING_STEPS:
        try:
            for batch in _batches_from(parquet, group, columns, step, done):
                done += len(batch)
                yield batch
            cause = "its row group ends early"
        except DECODING_ERRORS as error:
            cause = cause_of(error)
        if done >= num_rows:
            return
    yield LostRows(num_rows - done, cause)


def _batches_from(
    parquet: pq.ParquetFile, group: int, columns: Sequence[str], step: int, first: int
) -> Iterator[pa.RecordBatch]:
    row = 0
    for batch in parquet.iter_batches(step, row_groups=[group], columns=list(columns), use_threads=False):
        row += len(batch)
        if row > first:
            yield batch.slice(max(len(batch) - (row - first), 0))

"""Rows of a Parquet file one at a time, in about ascending order, in memory that doesn't grow with the file.

A row group can't be entered in its middle: what comes before a row must be decoded. So the cursor moves forward and
keeps its place, from one shard to the next; it starts over at a row group only where a row lies behind it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.archive.patience import refusal_of
from caption_core.archive.sources.parquet_file import DECODING_ERRORS, open_parquet, read_signature
from caption_core.archive.sources.source import no_beat
from caption_core.archive.storage import is_remote
from caption_core.archive.store_errors import cause_of, image_error_of
from caption_core.errors import CapstanError, ImageError
from caption_core.records import ErrorKind

# Decoded at once, on average, and how many times that may be kept for rows that were passed by.
_BATCH_BYTES = 8 << 20
_KEPT_BATCHES = 16

# What the errors of PyArrow's file systems for object stores hold, and Parquet's own don't.
_STORE_ERRORS = ("AWS Error", "curlCode", "google::cloud", "Azure")


class ParquetCursor:
    """Takes rows of some columns; several threads may.

    Args:
        location: of the file: an absolute path, or an address.
        signature: of the file as it was listed.
        columns: to read; with a dot before a child of a struct.
        largest_batch: rows that are decoded at once, at most; fewer where they are large.
    """

    def __init__(self, location: str, signature: str, columns: Sequence[str], largest_batch: int = 32) -> None:
        self._location, self._signature = location, signature
        self._columns, self._largest_batch = list(columns), largest_batch
        self._lock = threading.Lock()
        self._announced: set[int] = set()  # and not taken yet
        self._in_order: list[int] = []  # as they were announced
        self._kept: deque[_Rows] = deque()  # the last one is what was read last
        self._file: _OpenFile | None = None
        self._stream: _GroupStream | None = None
        self._no_file: ImageError | None = None
        self._damage: dict[int, _Damage] = {}
        self._fragile: set[int] = set()

    def announce(self, rows: Iterable[int], beat: Callable[[], None] = no_beat) -> None:
        """Tell which rows will be taken, each once, and go to the first of them.

        They are kept when they are passed by (not all too many of them); other rows are not. Calls
        `beat` for each batch on the way.

        Raises:
            ImageError: the file can't be opened at this moment; it may be announced again, or rows taken all the same.
        """
        with self._lock:
            self._announced = set(rows)
            self._in_order = sorted(self._announced)
            self._kept = deque(kept for kept in self._kept if self._is_of_use(kept))
            # What failed for want of a connection or of a permission gets another chance.
            self._no_file = None
            self._damage = {group: damage for group, damage in self._damage.items() if damage.lasts}
            # Now, since an image may take only so long, and the way to a shard's first row may be gigabytes.
            if self._in_order:
                self._begin_at(self._in_order[0], beat)

    def take(self, row: int) -> pa.RecordBatch:
        """One row.

        Returns:
            A batch of length 1. It holds on to some rows around it in memory.

        Raises:
            ImageError: NOT_FOUND, UNREADABLE or DOWNLOAD_FAILED (the file), CORRUPT (this row).
        """
        with self._lock:
            rows = self._find(row)
            if rows is None:
                self._approach(self._left_behind(row))
                rows = self._read(row)
            self._announced.discard(row)
            if not self._is_of_use(rows):
                self._kept.remove(rows)
            return rows.batch.slice(row - rows.first, 1)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._kept.clear()
            self._let_go()

    def _begin_at(self, row: int, beat: Callable[[], None]) -> None:
        try:
            _ = self._find(row) or self._read(row, beat)
        except ImageError as error:  # raised again when the row is taken
            if error.kind is not ErrorKind.CORRUPT and refusal_of(error) is not None:
                raise

    def _approach(self, rows: Iterable[int]) -> None:
        for row in rows:
            with suppress(ImageError):  # raised again when the row is taken
                _ = self._find(row) or self._read(row)

    def _find(self, row: int) -> _Rows | None:
        return next((rows for rows in self._kept if row in rows.numbers), None)

    def _left_behind(self, row: int) -> list[int]:
        """The last announced row of each row group on the way to a row in a later one."""
        if self._stream is None:
            return []
        file = self._opened()
        start, stop = self._stream.next_row, file.locate(row)[1]
        between = self._in_order[bisect_left(self._in_order, start) : bisect_left(self._in_order, stop)]
        return list({file.locate(other)[0]: other for other in between if other in self._announced}.values())

    def _read(self, row: int, beat: Callable[[], None] = no_beat) -> _Rows:
        """A row from the file, with some around it."""
        group, first = self._opened().locate(row)
        damage = self._damage.get(group)
        if damage is not None and row >= damage.row:
            raise _another(damage.error)
        try:
            return self._forward(row, group, first, beat)
        except DECODING_ERRORS as error:
            self._note(group, error)
        return self._read(row, beat)

    def _forward(self, row: int, group: int, first: int, beat: Callable[[], None]) -> _Rows:
        stream = self._stream
        if stream is None or stream.group != group or stream.next_row > row:
            self._stream = None
            stream = self._stream = self._open_group(group, first)
        while stream.next_row <= row:
            beat()
            self._keep(stream.read())
        return self._kept[-1]

    def _keep(self, rows: _Rows) -> None:
        before = self._kept[-1] if self._kept else None
        self._kept.append(rows)
        if before is not None and not self._is_of_use(before):
            self._kept.remove(before)
        if len(self._kept) > _KEPT_BATCHES:
            self._kept.popleft()

    def _is_of_use(self, rows: _Rows) -> bool:
        # What was read last may hold the beginning of the next shard.
        return rows is self._kept[-1] or any(row in self._announced for row in rows.numbers)

    def _note(self, group: int, error: Exception) -> None:
        """After the first error the row group is read again, row by row, after the second one it is given up there.

        So a passing failure passes, and a damaged page costs no row that comes before it.
        """
        row = self._stream.next_row if self._stream is not None else 0
        if group in self._fragile:
            self._damage[group] = _Damage(row, _failure(error, self._location))
        self._fragile.add(group)
        self._let_go()

    def _opened(self) -> _OpenFile:
        if self._no_file is not None:
            raise _another(self._no_file)
        if self._file is None:
            try:
                self._file = _open(self._location, self._signature)
            except ImageError as error:
                self._no_file = _another(error)
                raise
        return self._file

    def _open_group(self, group: int, first: int) -> _GroupStream:
        parquet = self._opened().parquet
        rows = 1 if group in self._fragile else _batch_rows(parquet, group, self._columns, self._largest_batch)
        batches = parquet.iter_batches(rows, row_groups=[group], columns=self._columns, use_threads=False)
        return _GroupStream(group, first, batches)

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.parquet.close(force=True)
        self._file = self._stream = None


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """A batch, and where it stands in the file."""

    first: int
    batch: pa.RecordBatch

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + len(self.batch))


@dataclass(frozen=True, slots=True)
class _Damage:
    """From where on a row group can't be read, and why."""

    row: int
    error: ImageError

    @property
    def lasts(self) -> bool:
        return self.error.kind is ErrorKind.CORRUPT


class _GroupStream:
    """A row group's batches, one after the other."""

    def __init__(self, group: int, first: int, batches: Iterator[pa.RecordBatch]) -> None:
        self.group, self.next_row = group, first
        self._batches = batches

    def read(self) -> _Rows:
        batch = next(self._batches, None)
        if batch is None:
            raise ValueError("the row group ends early")
        rows = _Rows(self.next_row, batch)
        self.next_row += len(batch)
        return rows


class _OpenFile:
    def __init__(self, parquet: pq.ParquetFile) -> None:
        self.parquet = parquet
        lengths = (parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups))
        self._starts = list(accumulate(lengths, initial=0))

    def locate(self, row: int) -> tuple[int, int]:
        """The row group of a row, and that group's first row."""
        if not 0 <= row < self._starts[-1]:
            raise ImageError(
                ErrorKind.UNREADABLE, f"the Parquet file has {self._starts[-1]:,} rows, none of this number"
            )
        group = bisect_right(self._starts, row) - 1
        return group, self._starts[group]


def _open(location: str, signature: str) -> _OpenFile:
    try:
        if read_signature(location) != signature:
            raise ImageError(ErrorKind.UNREADABLE, "the Parquet file changed since it was listed")
        return _OpenFile(open_parquet(location))
    except ImageError:
        raise
    except (CapstanError, *DECODING_ERRORS) as error:
        raise _failure(error.__cause__ or error, location) from error


def _another(error: ImageError) -> ImageError:
    # One that is raised again and again gathers tracebacks, and with them all that the threads held.
    return ImageError(error.kind, str(error))


def _failure(error: BaseException, location: str) -> ImageError:
    """Whether it is the way to the content that is at fault, or the content."""
    if isinstance(error, FileNotFoundError):
        return ImageError(ErrorKind.NOT_FOUND, "the Parquet file is not there any more")
    if is_remote(location) and any(sign in str(error) for sign in _STORE_ERRORS):
        return ImageError(image_error_of(error).kind, f"the Parquet file can't be read: {cause_of(error)}")
    # Parquet's own complaints are OSErrors too, without a number.
    if isinstance(error, OSError) and error.errno:
        return ImageError(ErrorKind.UNREADABLE, f"the Parquet file can't be read: {cause_of(error)}")
    return ImageError(ErrorKind.CORRUPT, f"the Parquet file is damaged here: {cause_of(error)}")


def _batch_rows(parquet: pq.ParquetFile, group: int, columns: Sequence[str], largest: int) -> int:
    """As many rows as have a moderate size on average."""
    metadata = parquet.metadata.row_group(group)
    chunks = (metadata.column(index) for index in range(metadata.num_columns))
    num_bytes = sum(int(chunk.total_uncompressed_size) for chunk in chunks if _is_within(chunk.path_in_schema, columns))
    rows = _BATCH_BYTES * int(metadata.num_rows) // max(num_bytes, 1)
    return min(max(rows, 1), largest)


def _is_within(path: str, columns: Sequence[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)

"""A run's references on disk, in order: written once as the sources list them, read shard by shard by the workers.

Neither the driver nor a worker ever holds more than some batches of them, whatever the size of the archive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from caption_core.archive.refs import REF_SCHEMA, ROWS_PER_BATCH, batch_to_refs
from caption_core.archive.storage import Storage
from caption_core.archive.unique_ids import hash_texts, new_names
from caption_core.records import ImageRef

BATCHES_PER_FILE = 128
_REPEATS = "repeats"

# Where an archive is mounted is not part of what it is: its URIs don't count.
_DIGESTED = ("image_id", "num_bytes", "locator", "source")


@dataclass(frozen=True, slots=True)
class PlannedRefs:
    """What was written down.

    Attributes:
        num_images: references.
        digest: SHA-256 over them in order.
        num_bytes: of all images whose size is known.
        num_unsized: images whose size is not.
        sizes: of all images in order, in bytes, int64 (images,); below 0 where unknown.
        num_renamed: images whose id had been given before, and that got another one.
    """

    num_images: int
    digest: str
    num_bytes: int
    num_unsized: int
    sizes: NDArray[np.int64] = field(repr=False, compare=False)
    num_renamed: int = 0


def write_plan(batches: Iterable[pa.RecordBatch], folder: Storage) -> PlannedRefs:
    """Write references down, in order, each under an id of its own.

    Args:
        batches: in `REF_SCHEMA`, of any lengths.
        folder: where to; empty.

    Raises:
        OSError: the folder can't be written.
    """
    first = _Writer(folder)
    planned = first.write(_even(batches))
    names = new_names(first.hashes(), PlanReader(folder).ids_at) if planned.num_images else {}
    if not names:
        return planned
    repeats = folder.sub(_REPEATS)
    repeats.make()
    planned = _Writer(repeats).write(_renamed(PlanReader(folder).batches(), names))
    for name in repeats.names():
        folder.write(name, repeats.read(name))
    repeats.delete_all()
    return replace(planned, num_renamed=len(names))


class PlanReader:
    """Reads references by their position.

    Args:
        folder: that `write_plan` filled.
    """

    def __init__(self, folder: Storage) -> None:
        self._folder = folder
        self._file: tuple[int, Any] | None = None
        self._batch: tuple[int, pa.RecordBatch] | None = None

    def refs(self, positions: range) -> list[ImageRef]:
        """The references at consecutive positions.

        Raises:
            OSError: the plan can't be read.
        """
        first, last = positions.start // ROWS_PER_BATCH, (positions.stop - 1) // ROWS_PER_BATCH
        refs: list[ImageRef] = []
        for number in range(first, last + 1) if positions else ():
            start = max(positions.start - number * ROWS_PER_BATCH, 0)
            stop = min(positions.stop - number * ROWS_PER_BATCH, ROWS_PER_BATCH)
            refs += batch_to_refs(self._read_batch(number).slice(start, stop - start))
        return refs

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All references, in order."""
        for number in range(len(self._folder.names())):
            reader = self._open(number)
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))

    def ids_at(self, positions: NDArray[np.int64]) -> list[str]:
        """The image ids at ascending positions."""
        ids: list[str] = []
        numbers = positions // ROWS_PER_BATCH
        for number in np.unique(numbers):
            within = positions[numbers == number] - number * ROWS_PER_BATCH
            ids += self._read_batch(int(number)).column("image_id").take(pa.array(within)).to_pylist()
        return ids

    def _read_batch(self, number: int) -> pa.RecordBatch:
        if self._batch is None or self._batch[0] != number:
            reader = self._open(number // BATCHES_PER_FILE)
            self._batch = number, reader.get_batch(number % BATCHES_PER_FILE)
        return self._batch[1]

    def _open(self, number: int) -> Any:
        if self._file is None or self._file[0] != number:
            self._file = number, pa.ipc.open_file(self._folder.open_input(_file_name(number)))
        return self._file[1]


def first_difference(
    before: Iterable[pa.RecordBatch], now: Iterable[pa.RecordBatch], *, sizes_matter: bool = True
) -> str:
    """Where two plans part, in words; empty where they don't.

    Args:
        before: references.
        now: references, in batches of the same lengths.
        sizes_matter: whether an image of another size is another image.
    """
    names = [name for name in _DIGESTED if sizes_matter or name != "num_bytes"]
    position = 0
    for one, other in zip_longest(before, now):
        if one is None or other is None or not all(one.column(name).equals(other.column(name)) for name in names):
            return _difference_in(position, _refs_or_none(one), _refs_or_none(other), names)
        position += len(one)
    return ""


class _Writer:
    """Writes batches, and adds up what they come to."""

    def __init__(self, folder: Storage) -> None:
        self._folder = folder
        self._digest = hashlib.sha256()
        self._hashes: list[NDArray[np.uint64]] = []
        self._sizes: list[NDArray[np.int64]] = []

    def write(self, batches: Iterator[pa.RecordBatch]) -> PlannedRefs:
        number = 0
        while file_batches := _take(batches):
            self._write_file(number, file_batches)
            number += 1
        sizes = np.concatenate([np.zeros(0, np.int64), *self._sizes])
        known = sizes >= 0
        num_bytes, num_unsized = int(sizes.sum(where=known)), len(sizes) - int(known.sum())
        return PlannedRefs(len(sizes), self._digest.hexdigest(), num_bytes, num_unsized, sizes)

    def hashes(self) -> NDArray[np.uint64]:
        return np.concatenate(self._hashes)

    def _write_file(self, number: int, batches: Sequence[pa.RecordBatch]) -> None:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with (
            self._folder.moved_into_place(_file_name(number)) as path,
            self._folder.file_system.open_output_stream(path) as file,
            pa.ipc.new_file(file, REF_SCHEMA, options=options) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                self._add(batch)

    def _add(self, batch: pa.RecordBatch) -> None:
        for name in _DIGESTED:
            _update(self._digest, batch.column(name))
        self._hashes.append(hash_texts(batch.column("image_id")))
        self._sizes.append(batch.column("num_bytes").to_numpy().copy())  # or the batch would stay in memory


def _take(batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return [batch for _, batch in zip(range(BATCHES_PER_FILE), batches, strict=False)]


def _even(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of equal length, the last one excepted: a digest must not depend on how they came."""
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        waiting.append(batch)
        num_waiting += len(batch)
        if num_waiting >= ROWS_PER_BATCH:
            *whole, rest = _chunks(waiting)
            yield from whole
            if len(rest) == ROWS_PER_BATCH:
                yield rest
                rest = rest.slice(0, 0)
            waiting, num_waiting = [rest], len(rest)
    if num_waiting:
        yield from _chunks(waiting)


def _chunks(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    table = pa.Table.from_batches(batches, REF_SCHEMA).combine_chunks()
    return list(table.to_batches(max_chunksize=ROWS_PER_BATCH))


def _renamed(batches: Iterable[pa.RecordBatch], names: dict[int, str]) -> Iterator[pa.RecordBatch]:
    position = 0
    changed = np.array(sorted(names))
    for batch in batches:
        here = changed[np.searchsorted(changed, position) : np.searchsorted(changed, position + len(batch))]
        if len(here):
            ids = batch.column("image_id").to_pylist()
            for index in here.tolist():
                ids[index - position] = names[index]
            columns = [pa.array(ids, pa.large_string()), *batch.columns[1:]]
            yield pa.RecordBatch.from_arrays(columns, schema=REF_SCHEMA)
        else:
            yield batch
        position += len(batch)


def _update(digest: Any, column: pa.Array) -> None:
    """Digest a column's values, whatever part of a longer one it is."""
    digest.update(b"%d:" % len(column))
    if not pa.types.is_large_string(column.type):
        digest.update(np.ascontiguousarray(column.to_numpy(zero_copy_only=False)))
        return
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    # The offsets keep apart texts that would run into each other.
    digest.update(np.ascontiguousarray(offsets - offsets[:1]))
    if len(offsets) and offsets[-1] > offsets[0]:
        digest.update(memoryview(column.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def _file_name(number: int) -> str:
    return f"refs-{number:05d}.arrow"


def _refs_or_none(batch: pa.RecordBatch | None) -> list[ImageRef]:
    return [] if batch is None else batch_to_refs(batch)


def _difference_in(position: int, before: Sequence[ImageRef], now: Sequence[ImageRef], names: Sequence[str]) -> str:
    for index, (one, other) in enumerate(zip_longest(before, now)):
        if one is None or other is None or any(getattr(one, name) != getattr(other, name) for name in names):
            return f"image {position + index + 1:,} was {_shown(one)} and is {_shown(other)}"
    return ""


def _shown(ref: ImageRef | None) -> str:
    if ref is None:
        return "not there"
    size = "" if ref.num_bytes < 0 else f" ({ref.num_bytes:,} bytes)"
    return f"{ref.image_id!r}{size}"

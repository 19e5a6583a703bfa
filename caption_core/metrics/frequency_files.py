"""Document frequencies on disk: one table a bucket, merged by ranges of keys, and looked up without being read whole.

A table is two files of bare values: `STEM.keys` (uint64, ascending) and `STEM.counts` (int32).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from caption_core.metrics.blocks import Int64, UInt64
from caption_core.metrics.document_frequency import FrequencyTable

_KEY, _COUNT = np.dtype(np.uint64), np.dtype(np.int32)
_RANGE_ENTRIES = 2_000_000  # bounds the memory of a merge to some 150 MB


def save_table(table: FrequencyTable, stem: Path) -> None:
    """Write a table."""
    table.keys.astype(_KEY).tofile(f"{stem}.keys")
    table.counts.astype(_COUNT).tofile(f"{stem}.counts")


def open_table(stem: Path, num_images: int) -> FrequencyTable:
    """Open what `save_table` or `merge_files` wrote, mapped into memory: processes on a machine share its pages."""
    return FrequencyTable(_map(Path(f"{stem}.keys"), _KEY), _map(Path(f"{stem}.counts"), _COUNT), num_images)


def _map(path: Path, dtype: np.dtype[np.generic]) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, dtype)  # nothing can't be mapped
    return np.memmap(path, dtype, mode="r")


def merge_files(stems: Sequence[Path], merged: Path) -> None:
    """Add up the tables of disjoint sets of images, at least one, into one: a range of keys at a time, in flat memory.

    N-grams of a single image are left out: their weight is that of an unknown n-gram, log(images / 1), so no score
    changes, and they are most of all n-grams.
    """
    with Path(f"{merged}.keys").open("wb") as key_file, Path(f"{merged}.counts").open("wb") as count_file:
        for keys, counts in _merged_ranges(stems):
            shared = counts > 1
            key_file.write(keys[shared].astype(_KEY).tobytes())
            count_file.write(counts[shared].astype(_COUNT).tobytes())


def _merged_ranges(stems: Sequence[Path]) -> Iterator[tuple[UInt64, Int64]]:
    total = sum(Path(f"{stem}.keys").stat().st_size for stem in stems) // _KEY.itemsize
    num_ranges = max(1, -(-total // _RANGE_ENTRIES))
    bounds = [(2**64 * number) // num_ranges for number in range(1, num_ranges)]  # keys are hashes: ranges are even
    places = [_cut(stem, bounds) for stem in stems]
    for number in range(num_ranges):
        yield _add_up([_read(stem, *place[number : number + 2]) for stem, place in zip(stems, places, strict=True)])


def _cut(stem: Path, bounds: list[int]) -> list[int]:
    """Where each range starts in a table, and the end of the last one."""
    keys = _map(Path(f"{stem}.keys"), _KEY)
    return [0, *np.searchsorted(keys, np.array(bounds, np.uint64)).tolist(), len(keys)]


def _read(stem: Path, start: int, end: int) -> tuple[UInt64, Int64]:
    """Entries of a table, read rather than mapped: mapped pages would stay in memory until all tables are."""
    keys = np.fromfile(f"{stem}.keys", np.uint64, end - start, offset=start * _KEY.itemsize)
    counts = np.fromfile(f"{stem}.counts", np.int32, end - start, offset=start * _COUNT.itemsize)
    return keys, counts.astype(np.int64)


def _add_up(tables: list[tuple[UInt64, Int64]]) -> tuple[UInt64, Int64]:
    keys = np.concatenate([keys for keys, _ in tables])
    counts = np.concatenate([counts for _, counts in tables])
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    if not len(keys):
        return keys, counts
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[first], np.add.reduceat(counts, first)

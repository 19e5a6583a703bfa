"""Image ids made unique among tens of millions, in memory of sixteen bytes an id."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Multilinear hashing (Carter and Wegman 1979, "Universal classes of hash functions"): a random odd multiplier for each
# position of a byte. Seeded, so that a plan is the same each time.
_MULTIPLIERS = np.random.default_rng(0).integers(0, 1 << 63, 1 << 16, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_LENGTH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def hash_texts(texts: pa.Array) -> NDArray[np.uint64]:
    """A 64-bit hash of each text: equal texts have equal ones, different texts hardly ever.

    Args:
        texts: large_string [n], without nulls.
    """
    buffers = texts.buffers()
    offsets = np.frombuffer(buffers[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    data = np.frombuffer(buffers[2], np.uint8)[first:last] if last > first else np.zeros(0, np.uint8)
    starts = (offsets - first)[: len(texts)]
    lengths = np.diff(offsets)
    positions = np.arange(len(data)) - np.repeat(starts, lengths)
    # A zero byte must count too, hence the one.
    weighted = (data.astype(np.uint64) + np.uint64(1)) * _MULTIPLIERS[positions & (len(_MULTIPLIERS) - 1)]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(weighted, dtype=np.uint64)])
    hashes: NDArray[np.uint64] = sums[starts + lengths] - sums[starts]
    return hashes + lengths.astype(np.uint64) * _LENGTH_MULTIPLIER


def new_names(hashes: NDArray[np.uint64], ids_at: Callable[[NDArray[np.int64]], Sequence[str]]) -> dict[int, str]:
    """Another name for each id that an earlier image has already: 'a.jpg#2', 'a.jpg#3' …

    Args:
        hashes: uint64 [n], of all ids in order.
        ids_at: the ids at ascending positions.

    Returns:
        The new id by position.
    """
    order = np.argsort(hashes, kind="stable")
    in_order = hashes[order]
    repeats = in_order[1:] == in_order[:-1]
    if not repeats.any():
        return {}
    suspects = np.sort(order[np.concatenate([repeats, [False]]) | np.concatenate([[False], repeats])])
    return _numbered(dict(zip(suspects.tolist(), ids_at(suspects), strict=True)), in_order)


def _numbered(ids: dict[int, str], taken: NDArray[np.uint64]) -> dict[int, str]:
    """New names for all but the first of equal ids; `taken` holds the sorted hashes of all ids there are."""
    seen: dict[str, int] = {}
    names: dict[int, str] = {}
    given: set[str] = set()
    for position, image_id in ids.items():
        number = seen.get(image_id, 0) + 1
        if number > 1:
            while (name := f"{image_id}#{number}") in given or _is_taken(name, taken):
                number += 1
            names[position] = name
            given.add(name)
        seen[image_id] = number
    return names


def _is_taken(name: str, taken: NDArray[np.uint64]) -> bool:
    value = hash_texts(pa.array([name], pa.large_string()))[0]
    index = int(np.searchsorted(taken, value))
    return index < len(taken) and bool(taken[index] == value)

"""Percent-encoding of whole columns."""

from __future__ import annotations

import string

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_SAFE = np.zeros(256, bool)
_SAFE[list(f"{string.ascii_letters}{string.digits}_.-~/".encode())] = True
_PERCENT = ord("%")
_HEX = np.frombuffer(b"0123456789ABCDEF", np.uint8)

# Bounds the intermediate arrays, which take some tens of bytes for each byte of text.
_ROWS_AT_ONCE = 8192


def quote_texts(texts: pa.Array) -> pa.Array:
    """Like `urllib.parse.quote`, for each text of a column.

    Args:
        texts: large_string [n], without nulls.

    Returns:
        large_string [n].
    """
    pieces = [_quoted(texts.slice(start, _ROWS_AT_ONCE)) for start in range(0, len(texts), _ROWS_AT_ONCE)]
    return pa.concat_arrays(pieces) if pieces else texts


def _quoted(texts: pa.Array) -> pa.Array:
    _, offset_buffer, data = texts.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    characters = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if offsets[-1] > offsets[0] else _HEX[:0]
    safe = _SAFE[characters]
    if safe.all():
        return texts
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(safe, 1, 3))])
    result = _spread(characters, safe, starts)
    new_offsets = np.ascontiguousarray(starts[offsets - offsets[0]])
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(new_offsets), pa.py_buffer(result))


def _spread(characters: NDArray[np.uint8], safe: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Each character at its start, or three characters in its place."""
    result = np.empty(starts[-1], np.uint8)
    result[starts[:-1]] = np.where(safe, characters, _PERCENT)
    unsafe, places = characters[~safe], starts[:-1][~safe]
    result[places + 1] = _HEX[unsafe >> 4]
    result[places + 2] = _HEX[unsafe & 15]
    return result

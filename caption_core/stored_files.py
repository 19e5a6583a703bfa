"""Files in compressed form, with a cap on what they expand to; the end of a file's name says how it was compressed.

General codecs spend much on where a sparse tensor's few values are. The gaps form takes values and distances apart:
the distances between a pruned tensor's values are close to geometrically distributed, which an entropy coder stores in
about as many bits as they carry.
"""

from __future__ import annotations

import lzma
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CODECS: Final = {"zstd": ".zst", "xz": ".xz"}
"""What a file can be compressed with, and the end of its name; after `.gaps`, if it was taken apart before."""

MAX_EXPANDED_BYTES: Final = 1 << 30
"""No file may expand to more: several times what the largest captioner in float32 takes."""

_GAPS: Final = ".gaps"
_ZSTD_LEVEL = 19  # 22 differs in a larger window, which files of some megabytes gain nothing from
# Literals in the context of their place in a four-byte word, which tells the bytes of floats apart.
_XZ_FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}
_XZ_WINDOW_BYTES = 64 << 20
_XZ_MEMORY_BYTES = 2 * _XZ_WINDOW_BYTES  # a file's header says how large a window its reader needs
_COUNT_BYTES = 8
_LONG = 255  # a gap's byte that says: so many zeros, and the gap goes on
_BLOCK_BYTES = 1 << 20


def store(data: bytes, codec: str) -> tuple[str, bytes]:
    """Compress in the form that comes out smallest.

    Args:
        data: the file's content.
        codec: a name of `CODECS`.

    Returns:
        What is appended to the file's name, "" if compression gains nothing; and the content.
    """
    ending = CODECS[codec]
    found = {"": data, ending: compress(data, codec)}
    separated = _separate(data)
    if len(separated) < len(data):  # only sparse data; a reader counts on it
        found[_GAPS + ending] = compress(separated, codec)
    return min(found.items(), key=lambda form: len(form[1]))


def expand(data: bytes, ending: str, size: int) -> bytes:
    """Undo `store`.

    Memory is bounded by `size`, whatever the data are: a few times as many bytes, and what a codec's window takes.

    Args:
        data: the compressed content.
        ending: what `store` appended to the name.
        size: bytes of the expanded file.

    Raises:
        ValueError: the data are truncated, of another codec, or expand to another size; says which.
    """
    codec = next((codec for codec, end in CODECS.items() if ending in (end, _GAPS + end)), None)
    if codec is None:
        raise ValueError(f"unknown compression {ending!r}")
    if not ending.startswith(_GAPS):
        expanded = decompress(data, codec, size)
        if len(expanded) < size:
            raise ValueError(f"it expands to {len(expanded)} bytes, not to the recorded {size}")
        return expanded
    return _join(decompress(data, codec, size), size)


def stored_names(name: str) -> dict[str, str]:
    """The names that the compressed forms of a file have, and their endings."""
    endings = [gaps + ending for ending in CODECS.values() for gaps in ("", _GAPS)]
    return {name + ending: ending for ending in endings}


def expanded_name(name: str) -> str:
    """A file's name once it is expanded; its own if it isn't compressed."""
    plain = next((name.removesuffix(ending) for ending in CODECS.values() if name.endswith(ending)), None)
    return name if plain is None else plain.removesuffix(_GAPS)


def compress(data: bytes, codec: str) -> bytes:
    """Compress with a codec of `CODECS`, as its own tools do."""
    if codec == "xz":
        window = max(4096, min(len(data), _XZ_WINDOW_BYTES))
        return lzma.compress(data, lzma.FORMAT_XZ, filters=[{**_XZ_FILTER, "dict_size": window}])
    compressed: bytes = pa.Codec(codec, compression_level=_ZSTD_LEVEL).compress(data, asbytes=True)
    return compressed


def decompress(data: bytes, codec: str, limit: int) -> bytes:
    """Undo `compress`.

    Raises:
        ValueError: the data are truncated, damaged, not of the codec, or expand to more than `limit` bytes.
    """
    if limit > MAX_EXPANDED_BYTES:
        raise ValueError(f"it expands to {limit} bytes; at most {MAX_EXPANDED_BYTES} are read")
    try:
        expanded = _read_xz(data, limit + 1) if codec == "xz" else _read_zstd(data, limit + 1)
    except (lzma.LZMAError, OSError) as error:
        raise ValueError(f"truncated, damaged or not {codec}: {error}") from error
    if len(expanded) > limit:
        raise ValueError(f"it expands to more than the recorded {limit} bytes")
    return expanded


def _read_xz(data: bytes, limit: int) -> bytes:
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)
    expanded = reader.decompress(data, max_length=limit)
    if len(expanded) < limit and not reader.eof:
        raise lzma.LZMAError("the data end early")
    return expanded


def _read_zstd(data: bytes, limit: int) -> bytes:
    if not data:
        raise OSError("the data end early")
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        expanded: bytes = stream.read(limit)
    return expanded


def _separate(data: bytes) -> bytes:
    """Take apart: the number of bytes that are not zero, the gaps of zeros before each of them, and these bytes.

    A gap is as many bytes of `_LONG` as fit, and the rest. Zeros at the end have no gap.
    """
    content = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(content)
    long, short = np.divmod(np.diff(places, prepend=-1) - 1, _LONG)
    gaps = np.full(len(places) + int(long.sum()), _LONG, np.uint8)
    gaps[np.cumsum(long + 1) - 1] = short
    return len(places).to_bytes(_COUNT_BYTES, "little") + gaps.tobytes() + content[places].tobytes()


def _join(data: bytes, size: int) -> bytes:
    """Undo `_separate`; in blocks, for places take eight times the memory of gaps."""
    count = int.from_bytes(data[:_COUNT_BYTES], "little")
    if count > len(data) - _COUNT_BYTES:
        raise ValueError("damaged: it holds fewer values than it says")
    content = np.frombuffer(data, np.uint8, offset=_COUNT_BYTES)
    gaps, values = np.split(content, [len(content) - count])
    if np.count_nonzero(gaps != _LONG) != count:
        raise ValueError("damaged: it holds another number of values than of places")
    return _placed(gaps, values, size).tobytes()


def _placed(gaps: NDArray[np.uint8], values: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    expanded = np.zeros(size, np.uint8)
    at = taken = 0
    for start in range(0, len(gaps), _BLOCK_BYTES):
        block = gaps[start : start + _BLOCK_BYTES]
        ends = block != _LONG
        reached = at + np.cumsum(block + ends, dtype=np.int64)
        at = int(reached[-1])
        if at > size:
            raise ValueError(f"it expands to more than the recorded {size} bytes")
        places = reached[ends] - 1
        expanded[places] = values[taken : taken + len(places)]
        taken += len(places)
    return expanded

"""Bytes of an archive at any offset."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import pyarrow as pa


class RandomAccess(Protocol):
    """The content of a file: as it is stored, or as it was before it was compressed."""

    @property
    def damage(self) -> str | None:
        """Why the content ends before it should, in words, once that was met."""
        ...

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        """The bytes at an offset; fewer, or none, where the content ends.

        Raises:
            OSError: the file can't be read.
        """
        ...

    def approach(self, offset: int, beat: Callable[[], None]) -> None:
        """Do what takes long before the bytes at an offset can be read, and call `beat` again and again meanwhile.

        Raises:
            OSError: the file can't be read.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class StoredAccess:
    """A file's bytes as they are stored; several threads may read."""

    damage: str | None = None

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self._num_bytes = int(file.size())

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        """See `RandomAccess`."""
        # Arrow makes room for what is asked, and object stores refuse what lies behind the end.
        available = min(num_bytes, self._num_bytes - offset)
        return bytes(self._file.read_at(available, offset)) if available > 0 else b""

    def approach(self, offset: int, beat: Callable[[], None]) -> None:
        """See `RandomAccess`; any offset is as near as any other."""

    def close(self) -> None:
        """See `RandomAccess`."""
        self._file.close()


class AheadAccess:
    """Reads on while the caller works on what was read: the more, the more reads of one length have come in a row.

    For one thread that goes forwards through an object store, which answers several requests as fast as one.

    Args:
        inner: what is read, by several threads.
        num_ahead: reads under way or kept, at most, beside the one that is asked for.
    """

    def __init__(self, inner: RandomAccess, num_ahead: int) -> None:
        self._inner = inner
        self._num_ahead = num_ahead
        self._threads = ThreadPoolExecutor(num_ahead)
        self._ahead: dict[tuple[int, int], Future[bytes]] = {}
        self._end = -1  # of what was asked for last
        self._in_a_row = 0

    @property
    def damage(self) -> str | None:
        """See `RandomAccess`."""
        return self._inner.damage

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        """See `RandomAccess`."""
        if offset != self._end:
            self._forget()
        self._end = offset + num_bytes
        reading = self._ahead.pop((num_bytes, offset), None)
        self._read_on(num_bytes)
        return self._inner.read_at(num_bytes, offset) if reading is None else reading.result()

    def approach(self, offset: int, beat: Callable[[], None]) -> None:
        """See `RandomAccess`."""
        self._inner.approach(offset, beat)

    def close(self) -> None:
        """See `RandomAccess`; waits for what is under way."""
        self._forget()
        self._threads.shutdown()
        self._inner.close()

    def _read_on(self, num_bytes: int) -> None:
        for place in range(min(self._in_a_row, self._num_ahead)):
            offset = self._end + place * num_bytes
            if (num_bytes, offset) not in self._ahead:
                self._ahead[num_bytes, offset] = self._threads.submit(self._inner.read_at, num_bytes, offset)
        self._in_a_row += 1

    def _forget(self) -> None:
        for reading in self._ahead.values():
            reading.cancel()
        self._ahead, self._in_a_row = {}, 0


class BlockAccess:
    """Reads whole blocks and keeps the last one, for many small reads that go forwards; for one thread."""

    def __init__(self, inner: RandomAccess, block_bytes: int) -> None:
        self._inner = inner
        self._block_bytes = block_bytes
        self._index = -1
        self._block = b""

    @property
    def damage(self) -> str | None:
        """See `RandomAccess`."""
        return self._inner.damage

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        """See `RandomAccess`."""
        start = offset - self._index * self._block_bytes
        if self._index >= 0 and 0 <= start <= len(self._block) - num_bytes:
            return self._block[start : start + num_bytes]
        return read_blocks(self._block_at, self._block_bytes, num_bytes, offset)

    def approach(self, offset: int, beat: Callable[[], None]) -> None:
        """See `RandomAccess`."""
        self._inner.approach(offset, beat)

    def close(self) -> None:
        """See `RandomAccess`."""
        self._index, self._block = -1, b""
        self._inner.close()

    def _block_at(self, index: int) -> bytes:
        if index != self._index:
            self._block = self._inner.read_at(self._block_bytes, index * self._block_bytes)
            self._index = index
        return self._block


def read_blocks(block_at: Callable[[int], bytes], block_bytes: int, num_bytes: int, offset: int) -> bytes:
    """Bytes at an offset, out of blocks of equal size, of which only the last is shorter."""
    pieces: list[bytes] = []
    while num_bytes > 0:
        index, start = divmod(offset, block_bytes)
        piece = block_at(index)[start : start + num_bytes]
        if not piece:
            break
        pieces.append(piece)
        num_bytes -= len(piece)
        offset += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)

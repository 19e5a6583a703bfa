"""Random access to the content of a gzip file.

Gzip can only be decompressed forwards. So the decompressor's state is kept every so often, and a read behind the
present position starts from the last state before it; a read ahead decompresses what lies between. Blocks just
decompressed are kept too: threads that share the work of reading forwards ask for them slightly out of order.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from itertools import chain
from typing import Any

from caption_core.archive.sources.random_access import RandomAccess, read_blocks

GZIP_MAGIC = b"\x1f\x8b"

_BLOCK_BYTES = 1 << 20
_CACHED_BLOCKS = 8
_FIRST_SPACING = 16  # blocks between two states
# A state takes some 60 kB (deflate's window of 32 kB, tables, compressed bytes not yet used): 15 MB at most.
_MOST_STATES = 256
_BLOCKS_PER_BEAT = 16
_FETCH_BYTES = 1 << 14
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


class GzipAccess:
    """A gzip file's content; several threads may read, one at a time does.

    Damage ends the content: what could be decompressed before it can be read, and nothing after it.

    Args:
        source: the compressed file; read forwards in small steps.
    """

    def __init__(self, source: RandomAccess) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._inflater = _Inflater(source)
        self._next = 0  # the block that the inflater gives next
        self._states: dict[int, _Inflater] = {}  # by the block that they would give next
        self._spacing = _FIRST_SPACING
        self._num_blocks: int | None = None  # known once the end was met
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.damage: str | None = None

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        """See `RandomAccess`."""
        with self._lock:
            return read_blocks(self._block_at, _BLOCK_BYTES, num_bytes, offset)

    def approach(self, offset: int, beat: Callable[[], None]) -> None:
        """See `RandomAccess`; others can read between the pieces of the way."""
        goal = offset // _BLOCK_BYTES
        with self._lock:
            start = self._nearest(goal)
        for index in chain(range(start, goal, _BLOCKS_PER_BEAT), (goal,)):
            beat()
            with self._lock:
                is_passed = index < min(self._next, goal)  # by another thread's read
                if not is_passed and not self._block_at(index):
                    return

    def close(self) -> None:
        """See `RandomAccess`."""
        with self._lock:
            self._source.close()

    def _block_at(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        if index < self._next:
            self._go_back(index)
        while self._next <= index and (self._num_blocks is None or self._next < self._num_blocks):
            self._advance()
        return self._blocks.get(index, b"")

    def _nearest(self, index: int) -> int:
        """The block from which the decompressor would set out for this one."""
        if index in self._blocks or self._next <= index:
            return min(self._next, index)
        return self._state_before(index)

    def _state_before(self, index: int) -> int:
        return max(state for state in self._states if state <= index)

    def _go_back(self, index: int) -> None:
        self._next = self._state_before(index)
        self._inflater = self._states[self._next].copy()

    def _advance(self) -> None:
        self._keep_state()
        inflater = self._inflater.copy()  # should reading the file fail halfway through a block, it can be tried again
        block = inflater.read(_BLOCK_BYTES)
        if len(block) < _BLOCK_BYTES:
            self._num_blocks = self._next + 1
            self.damage = inflater.damage
        self._blocks[self._next] = block
        if len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        self._next += 1
        self._inflater = inflater

    def _keep_state(self) -> None:
        if self._next % self._spacing or self._next in self._states:
            return
        self._states[self._next] = self._inflater.copy()
        if len(self._states) > _MOST_STATES:
            self._spacing *= 2
            self._states = {index: state for index, state in self._states.items() if index % self._spacing == 0}


class _Inflater:
    """Decompresses a gzip file forwards: one gzip stream, or several, one after the other.

    Attributes:
        damage: why the content ends early, in words.
    """

    def __init__(self, source: RandomAccess) -> None:
        self._source = source
        self._position = 0  # in the compressed file, of what is fetched next
        self._pending = b""  # fetched, not yet decompressed
        self._stream: Any = None  # zlib's decompressor; None between two gzip streams
        self.damage: str | None = None

    def copy(self) -> _Inflater:
        """One that goes on from here on its own."""
        twin = _Inflater(self._source)
        twin._position, twin._pending = self._position, self._pending
        twin._stream = self._stream.copy() if self._stream is not None else None
        twin.damage = self.damage
        return twin

    def read(self, num_bytes: int) -> bytes:
        """The next bytes of the content; fewer at its end."""
        pieces: list[bytes] = []
        while num_bytes > 0 and self.damage is None and (self._stream is not None or self._begin_stream()):
            pieces.append(self._inflate(num_bytes))
            num_bytes -= len(pieces[-1])
        return b"".join(pieces)

    def _begin_stream(self) -> bool:
        self._pending = self._pending.lstrip(b"\0")  # zeros may pad a gzip file
        while not self._pending:
            if not self._fetch():
                return False
            self._pending = self._pending.lstrip(b"\0")
        if len(self._pending) < len(GZIP_MAGIC):
            self._fetch()
        if not self._pending.startswith(GZIP_MAGIC):
            self.damage = f"no gzip data near byte {self._position - len(self._pending):,} of the compressed file"
            return False
        self._stream = zlib.decompressobj(_GZIP_FORMAT)
        return True

    def _inflate(self, num_bytes: int) -> bytes:
        if not self._pending:
            self._fetch()
        compressed, before = self._pending, self._stream.copy()
        try:
            piece: bytes = self._stream.decompress(compressed, num_bytes)
        except zlib.error as error:
            self.damage = f"damaged gzip data near byte {self._position:,} of the compressed file: {_cause(error)}"
            return _before_the_error(before, compressed, num_bytes)
        if self._stream.eof:
            self._pending, self._stream = self._stream.unused_data, None
            return piece
        if not piece and not compressed:
            self.damage = f"the compressed file ends too early, after {self._position:,} bytes"
        self._pending = self._stream.unconsumed_tail
        return piece

    def _fetch(self) -> bool:
        fetched = self._source.read_at(_FETCH_BYTES, self._position)
        self._pending += fetched
        self._position += len(fetched)
        return bool(fetched)


def _before_the_error(stream: Any, compressed: bytes, num_bytes: int) -> bytes:
    """What a decompressor gives before it fails, which zlib throws away with the error: fed byte by byte."""
    content = bytearray()
    try:
        for byte in compressed:
            content += stream.decompress(bytes((byte,)))
    except zlib.error:
        pass
    return bytes(content[:num_bytes])


def _cause(error: zlib.error) -> str:
    return str(error).rpartition(": ")[2]

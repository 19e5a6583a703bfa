"""Stored bytes at any offset, directly and in blocks."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.random_access import AheadAccess, BlockAccess, StoredAccess

CONTENT = bytes(range(256)) * 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 1 << 63)), max_size=5))
def test_spans_are_short_or_empty_where_the_file_ends(block_bytes: int, spans: list[tuple[int, int]]) -> None:
    stored = StoredAccess(pa.BufferReader(CONTENT))
    blocks = BlockAccess(stored, block_bytes)
    ahead = BlockAccess(AheadAccess(stored, 3), block_bytes)
    for num_bytes, offset in [*spans, (300, 900), (10, 0), (5000, 1)]:
        expected = CONTENT[offset : offset + num_bytes]
        assert stored.read_at(num_bytes, offset) == expected
        assert blocks.read_at(num_bytes, offset) == expected
        assert ahead.read_at(num_bytes, offset) == expected
    ahead.close()


class Counted(StoredAccess):
    """Access that notes where reads begin."""

    offsets: tuple[int, ...] = ()

    def read_at(self, num_bytes: int, offset: int) -> bytes:
        self.offsets += (offset,)
        return super().read_at(num_bytes, offset)


def test_blocks_are_read_once_while_reads_go_forwards() -> None:
    counted = Counted(pa.BufferReader(CONTENT))
    blocks = BlockAccess(counted, 256)
    for offset in range(0, 1024, 10):
        blocks.read_at(10, offset)
    assert counted.offsets == (0, 256, 512, 768, 1024)


def test_the_reads_to_come_are_under_way_together() -> None:
    together = threading.Barrier(3, timeout=30)

    class Meeting(StoredAccess):
        def read_at(self, num_bytes: int, offset: int) -> bytes:
            if offset in range(300, 600):
                together.wait()  # breaks unless three reads are here at once
            return super().read_at(num_bytes, offset)

    ahead = AheadAccess(Meeting(pa.BufferReader(CONTENT)), 3)
    assert b"".join(ahead.read_at(100, offset) for offset in range(0, 1100, 100)) == CONTENT
    ahead.close()


def test_nothing_is_read_ahead_of_leaps_and_never_more_than_was_read_in_a_row() -> None:
    counted = Counted(pa.BufferReader(CONTENT))
    ahead = AheadAccess(counted, 4)
    for offset in (0, 200, 400, 500, 900):
        ahead.read_at(100, offset)
    ahead.close()
    assert set(counted.offsets) <= {0, 200, 400, 500, 600, 900}
    assert len(counted.offsets) <= 6


def test_a_read_that_fails_fails_at_its_turn() -> None:
    class Broken(StoredAccess):
        def read_at(self, num_bytes: int, offset: int) -> bytes:
            if offset == 500:
                raise OSError("lost")
            return super().read_at(num_bytes, offset)

    ahead = AheadAccess(Broken(pa.BufferReader(CONTENT)), 4)
    assert b"".join(ahead.read_at(100, offset) for offset in range(0, 500, 100)) == CONTENT[:500]
    with pytest.raises(OSError, match="lost"):
        ahead.read_at(100, 500)
    ahead.close()


def test_a_closed_file_stays_closed() -> None:
    content = BlockAccess(StoredAccess(pa.BufferReader(CONTENT)), 10)
    content.close()
    with pytest.raises(ValueError, match="closed"):
        content.read_at(10, 0)

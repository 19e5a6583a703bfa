"""Stored bytes at any offset, directly and in blocks."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.random_access import BlockAccess, StoredAccess

CONTENT = bytes(range(256)) * 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 1 << 63)), max_size=5))
def test_spans_are_short_or_empty_where_the_file_ends(block_bytes: int, spans: list[tuple[int, int]]) -> None:
    stored = StoredAccess(pa.BufferReader(CONTENT))
    blocks = BlockAccess(stored, block_bytes)
    for num_bytes, offset in [*spans, (300, 900), (10, 0), (5000, 1)]:
        expected = CONTENT[offset : offset + num_bytes]
        assert stored.read_at(num_bytes, offset) == expected
        assert blocks.read_at(num_bytes, offset) == expected


def test_blocks_are_read_once_while_reads_go_forwards() -> None:
    class Counted(StoredAccess):
        offsets: tuple[int, ...] = ()

        def read_at(self, num_bytes: int, offset: int) -> bytes:
            self.offsets += (offset,)
            return super().read_at(num_bytes, offset)

    counted = Counted(pa.BufferReader(CONTENT))
    blocks = BlockAccess(counted, 256)
    for offset in range(0, 1024, 10):
        blocks.read_at(10, offset)
    assert counted.offsets == (0, 256, 512, 768, 1024)


def test_a_closed_file_stays_closed() -> None:
    content = BlockAccess(StoredAccess(pa.BufferReader(CONTENT)), 10)
    content.close()
    with pytest.raises(ValueError, match="closed"):
        content.read_at(10, 0)

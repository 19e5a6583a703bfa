"""Gzip files at any offset: sound, joined, padded, cut and damaged ones."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caption_core.archive.sources import gzip_access
from caption_core.archive.sources.gzip_access import GzipAccess
from caption_core.archive.sources.random_access import BlockAccess, StoredAccess

_RANDOM = random.Random(5)
CONTENT = b"".join(_RANDOM.randbytes(_RANDOM.randrange(300)) + bytes(_RANDOM.randrange(3000)) for _ in range(100))
COMPRESSED = gzip.compress(CONTENT, 6)


@pytest.fixture(autouse=True, scope="module")
def small_steps() -> Iterator[None]:
    """Small content that still has many blocks, states and fetches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gzip_access, "_BLOCK_BYTES", 1 << 10)
        patch.setattr(gzip_access, "_FETCH_BYTES", 1 << 8)
        patch.setattr(gzip_access, "_CACHED_BLOCKS", 3)
        patch.setattr(gzip_access, "_FIRST_SPACING", 2)
        patch.setattr(gzip_access, "_MOST_STATES", 10)
        yield


def opened(data: bytes) -> GzipAccess:
    return GzipAccess(BlockAccess(StoredAccess(pa.BufferReader(data)), 100))


def whole(data: bytes) -> bytes:
    return opened(data).read_at(1 << 30, 0)


SPANS = st.tuples(st.integers(0, 5000), st.integers(0, len(CONTENT) + 3000))


@settings(max_examples=40, deadline=None)
@given(st.lists(SPANS, min_size=1, max_size=20))
def test_any_span_in_any_order(spans: list[tuple[int, int]]) -> None:
    content = opened(COMPRESSED)
    for num_bytes, offset in spans:
        assert content.read_at(num_bytes, offset) == CONTENT[offset : offset + num_bytes]
    assert content.damage is None


def advances_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The blocks that are decompressed from now on."""
    blocks: list[int] = []
    advance = gzip_access.GzipAccess._advance

    def noted(access: GzipAccess) -> None:
        blocks.append(access._next)
        advance(access)

    monkeypatch.setattr(gzip_access.GzipAccess, "_advance", noted)
    return blocks


def test_what_was_approached_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    content = opened(COMPRESSED)
    blocks = advances_of(monkeypatch)
    beats: list[int] = []
    content.approach(100_000, lambda: beats.append(len(blocks)))
    assert blocks == list(range(98))
    # Never more than so many blocks without a beat.
    assert max(later - earlier for earlier, later in pairwise([*beats, len(blocks)])) <= gzip_access._BLOCKS_PER_BEAT
    blocks.clear()
    assert content.read_at(100, 100_000) == CONTENT[100_000:100_100]
    assert blocks == []


@given(st.lists(st.integers(0, len(CONTENT) + 5000), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_approaching_changes_nothing_that_is_read(offsets: list[int]) -> None:
    content = opened(COMPRESSED)
    for offset in offsets:
        content.approach(offset, lambda: None)
        assert content.read_at(50, offset) == CONTENT[offset : offset + 50]


def test_approaching_stops_where_the_content_ends() -> None:
    beats: list[None] = []
    content = opened(COMPRESSED)
    content.approach(1 << 50, lambda: beats.append(None))
    assert len(beats) <= len(CONTENT) // (1 << 10) // gzip_access._BLOCKS_PER_BEAT + 2
    damaged = opened(COMPRESSED[: len(COMPRESSED) // 2])
    damaged.approach(1 << 50, lambda: None)
    assert damaged.damage is not None


def test_spans_from_many_threads() -> None:
    content = opened(COMPRESSED)
    offsets = list(range(0, len(CONTENT), 777))
    random.Random(1).shuffle(offsets)
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda offset: content.read_at(777, offset), offsets))
    assert pieces == [CONTENT[offset : offset + 777] for offset in offsets]


def test_a_span_far_behind_the_end() -> None:
    assert opened(COMPRESSED).read_at(10, 1 << 62) == b""


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(CONTENT)), max_size=5).map(sorted), st.integers(0, 600))
def test_streams_that_were_joined_and_padded(cuts: list[int], num_zeros: int) -> None:
    bounds = [0, *cuts, len(CONTENT)]
    streams = [gzip.compress(CONTENT[a:b]) for a, b in pairwise(bounds)]
    content = opened(b"".join(streams) + b"\0" * num_zeros)
    assert content.read_at(len(CONTENT) + 1, 0) == CONTENT
    assert content.damage is None


def test_a_memory_of_states_has_bounds() -> None:
    content = opened(COMPRESSED)
    assert content.read_at(1 << 30, 0) == CONTENT
    assert 2 < len(content._states) <= 10
    assert content.read_at(1000, 0) == CONTENT[:1000]
    assert content.read_at(1000, 50_000) == CONTENT[50_000:51_000]


def decompressible(data: bytes) -> bytes:
    """What zlib gives, byte by byte, before it fails."""
    content, stream = bytearray(), zlib.decompressobj(31)
    try:
        for byte in data:
            content += stream.decompress(bytes((byte,)))
    except zlib.error:
        pass
    return bytes(content)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, len(COMPRESSED) - 1))
def test_a_cut_file_gives_all_that_is_left(cut: int) -> None:
    content = opened(COMPRESSED[:cut])
    assert content.read_at(1 << 30, 0) == decompressible(COMPRESSED[:cut])
    assert content.damage == f"the compressed file ends too early, after {cut:,} bytes"


def is_sound(data: bytes) -> bool:
    """Whether zlib finds nothing wrong: some bits of a stream mean nothing, such as those that fill its last byte."""
    with suppress(zlib.error, EOFError, gzip.BadGzipFile):
        gzip.decompress(data)
        return True
    return False


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(COMPRESSED) - 1), st.integers(1, 255))
@example(len(COMPRESSED) - 9, 128)
def test_a_wrong_byte_loses_nothing_before_it(at: int, change: int) -> None:
    damaged = COMPRESSED[:at] + bytes([COMPRESSED[at] ^ change]) + COMPRESSED[at + 1 :]
    content = opened(damaged)
    found = content.read_at(1 << 30, 0)
    if at >= 10:  # the header, some of whose bytes mean nothing
        assert found == decompressible(damaged)
        assert (content.damage is None) == is_sound(damaged)
    for offset in (len(found) - 10, 0, len(found) // 2):
        assert content.read_at(10, max(offset, 0)) == found[max(offset, 0) :][:10]


def test_a_wrong_checksum_is_damage() -> None:
    content = opened(COMPRESSED[:-8] + b"\1\2\3\4" + COMPRESSED[-4:])
    assert content.read_at(1 << 30, 0) == CONTENT
    assert content.damage is not None
    assert "incorrect data check" in content.damage


def test_rubbish_after_the_end_is_damage() -> None:
    content = opened(COMPRESSED + b"rubbish")
    assert content.read_at(1 << 30, 0) == CONTENT
    assert content.damage == f"no gzip data near byte {len(COMPRESSED):,} of the compressed file"


def test_a_file_that_fails_once_is_read_the_next_time() -> None:
    class Flaky(StoredAccess):
        calls = failures = 0

        def read_at(self, num_bytes: int, offset: int) -> bytes:
            self.calls += 1
            if self.calls % 7 == 0:
                self.failures += 1
                raise OSError("connection lost")
            return super().read_at(num_bytes, offset)

    flaky = Flaky(pa.BufferReader(COMPRESSED))
    content, found = GzipAccess(flaky), b""
    for _ in range(10_000):
        with suppress(OSError):
            found += content.read_at(500, len(found))
    assert found == CONTENT
    assert flaky.failures
    assert content.damage is None


def test_a_bomb_is_read_no_further_than_asked() -> None:
    bomb = gzip.compress(bytes(50 << 20))
    content = opened(bomb)
    assert content.read_at(10, 1000) == bytes(10)
    assert content._next <= 2

"""Hashes of texts: equal for equal ones, whatever array holds them, and different for different ones."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.unique_ids import hash_texts


def hashes(texts: list[str]) -> list[int]:
    return [int(value) for value in hash_texts(pa.array(texts, pa.large_string()))]


@given(st.lists(st.text(max_size=6), max_size=30))
def test_hashes_are_equal_exactly_for_equal_texts(texts: list[str]) -> None:
    assert len(set(hashes(texts))) == len(set(texts))
    assert hashes(texts) == [hashes([text])[0] for text in texts]


@given(st.lists(st.text(max_size=3), min_size=3, max_size=9), st.integers(0, 2))
def test_a_slice_has_its_own_hashes(texts: list[str], start: int) -> None:
    assert hash_texts(pa.array(texts, pa.large_string())[start:]).tolist() == hashes(texts)[start:]


def test_near_texts_differ() -> None:
    texts = [f"photographs/{index // 100:03d}/IMG_{index:06d}.jpg" for index in range(200_000)]
    assert len(set(hashes(texts))) == len(texts)


def test_texts_longer_than_the_table_of_multipliers() -> None:
    long = "x" * 70_000
    assert len(set(hashes([long, long + "x", "y" + long[1:], long[:-1] + "y"]))) == 4

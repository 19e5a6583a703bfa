"""Work ahead keeps order and bounds, and passes errors on at their turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.engine.lookahead import map_ahead


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(0, 8), st.integers(1, 3))
def test_results_come_in_order(items: list[int], lookahead: int, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_ahead(lambda item: item * 2, items, pool, lookahead)) == [item * 2 for item in items]


def test_no_more_is_taken_than_the_lookahead_allows() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(lambda item: item, items(), pool, 5)
        for handed_out in range(1, 50):
            next(results)
            assert len(taken) <= handed_out + 5
        results.close()  # type: ignore[attr-defined]


def test_the_pool_works_while_the_caller_does() -> None:
    ahead = threading.Event()

    def work(item: int) -> int:
        if item == 3:
            ahead.set()
        return item

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(work, range(10), pool, 4)
        next(results)
        assert ahead.wait(10), "item 3 is worked on though only item 0 was asked for"
        assert list(results) == list(range(1, 10))


def test_an_error_is_raised_at_its_turn_and_ends_the_rest() -> None:
    done = []

    def work(item: int) -> int:
        time.sleep(0.001)
        if item == 2:
            raise ValueError("two")
        done.append(item)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(work, range(1000), pool, 10)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(results)
    assert len(done) < 20

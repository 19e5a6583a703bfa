"""Work ahead keeps order and bounds, passes errors on at their turn, and doesn't wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.engine.lookahead import Lookahead


def lookahead(function: Callable[[int], int], threads: int = 1, timeout_s: float = 60) -> Lookahead[int, int]:
    return Lookahead(function, threads, timeout_s, give_up=lambda item: -1 - item)


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(0, 8), st.integers(1, 3))
def test_results_come_in_order(items: list[int], ahead: int, threads: int) -> None:
    worker = lookahead(lambda item: item * 2, threads)
    assert list(worker.map(items, ahead)) == [item * 2 for item in items]
    worker.close()


@pytest.mark.parametrize("ahead", [0, 5])
def test_no_more_is_taken_than_the_lookahead_allows(ahead: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = lookahead(lambda item: item, 2).map(items(), ahead)
    for handed_out in range(1, 50):
        next(results)
        assert len(taken) <= handed_out + ahead


def test_the_threads_work_while_the_caller_does() -> None:
    ahead = threading.Event()

    def work(item: int) -> int:
        if item == 3:
            ahead.set()
        return item

    results = lookahead(work).map(range(10), 4)
    next(results)
    assert ahead.wait(10), "item 3 is worked on though only item 0 was asked for"
    assert list(results) == list(range(1, 10))


def test_an_error_is_raised_at_its_turn_and_ends_the_rest() -> None:
    done = []

    def work(item: int) -> int:
        time.sleep(0.001)
        if item == 2:
            raise TimeoutError("two")
        done.append(item)
        return item

    results = lookahead(work).map(range(1000), 10)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(TimeoutError, match="two"):
        next(results)
    assert len(done) < 20


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stuck", [{0}, {3}, {2, 3, 4}, {9}])
def test_calls_that_hang_are_given_up_and_the_others_are_done(threads: int, stuck: set[int]) -> None:
    release = threading.Event()

    def work(item: int) -> int:
        if item in stuck:
            release.wait()
        return item

    worker = lookahead(work, threads, timeout_s=0.2)
    try:
        results = list(worker.map(range(10), 4))
        assert results == [-1 - item if item in stuck else item for item in range(10)]
        # One that hangs beside another one is tried once more, and hangs once more.
        assert len(stuck) <= worker.num_stuck <= 2 * len(stuck)
    finally:
        release.set()
    end_s = time.monotonic() + 30
    while worker.num_stuck:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_time_spent_waiting_for_a_thread_does_not_count() -> None:
    def work(item: int) -> int:
        time.sleep(0.05)
        return item

    assert list(lookahead(work, timeout_s=0.5).map(range(15), 15)) == list(range(15))


def test_a_call_that_waits_for_one_that_hangs_begins_anew() -> None:
    """As with a reader's lock that the hanging call holds, and a new reader after it is given up."""
    release, lock, fresh = threading.Event(), threading.Lock(), threading.Event()

    def work(item: int) -> int:
        if fresh.is_set():
            return item
        with lock:
            if item == 0:
                release.wait()
        return item

    def give_up(item: int) -> int:
        fresh.set()
        return -1 - item

    worker: Lookahead[int, int] = Lookahead(work, 2, 0.3, give_up)
    try:
        assert list(worker.map(range(6), 4)) == [-1, 1, 2, 3, 4, 5]
    finally:
        release.set()

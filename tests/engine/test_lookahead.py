"""Work ahead keeps order and bounds, passes errors on at their turn, and doesn't wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.engine.lookahead import Lookahead, Stages


def lookahead(
    function: Callable[[int], int],
    threads: int = 1,
    timeout_s: float = 60,
    *,
    read: Callable[[int], int] = int,
    give_up: Callable[[int], int] = lambda item: -1 - item,
) -> Lookahead[int, int, int]:
    stages = Stages(read, function, give_up)
    return Lookahead(stages, readers=4, cpus=threads, timeout_s=timeout_s)


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(0, 8), st.integers(1, 3))
def test_results_come_in_order(items: list[int], ahead: int, threads: int) -> None:
    worker = lookahead(lambda item: item * 2, threads)
    assert list(worker.map(items, ahead)) == [item * 2 for item in items]


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

    worker = lookahead(work, 2, 0.3, give_up=give_up)
    try:
        assert list(worker.map(range(6), 4)) == [-1, 1, 2, 3, 4, 5]
    finally:
        release.set()


def test_reading_goes_on_while_the_caller_computes() -> None:
    read = threading.Semaphore(0)

    def reading(item: int) -> int:
        read.release()
        return item

    worker = lookahead(lambda item: item * 2, read=reading)
    results = worker.map(range(10), 4)
    assert next(results) == 0

    with worker.held_back():
        assert all(read.acquire(timeout=10) for _ in range(5)), "items 0 to 4 are read though only item 0 was asked for"
    assert list(results) == list(range(2, 20, 2))


@pytest.mark.parametrize("cpus", [1, 3])
def test_nothing_begins_to_be_computed_beside_the_caller(cpus: int) -> None:
    calling, beside = threading.Event(), []

    def work(item: int) -> int:
        if calling.is_set():
            beside.append(item)
        return item

    worker = lookahead(work, cpus)
    results = worker.map(range(40), 20)
    next(results)
    # Those that began before it may still be under way.
    time.sleep(0.05)

    for _ in range(3):
        with worker.held_back():
            calling.set()
            time.sleep(0.1)
            calling.clear()
        next(results)
    # Each time those that had begun, of the twenty that wait.
    assert len(beside) <= 3 * cpus
    assert len(list(results)) == 36


def test_holding_back_ends_with_an_error_too() -> None:
    worker = lookahead(lambda item: item)
    with pytest.raises(ZeroDivisionError), worker.held_back():
        _ = 1 // 0
    assert list(worker.map(range(3), 1)) == [0, 1, 2]


def test_what_is_read_waits_for_room() -> None:
    """Four readers and one CPU: five items may be in memory, and no more are read while nothing is computed."""
    read: list[int] = []

    def reading(item: int) -> int:
        read.append(item)
        return item

    worker = lookahead(lambda item: item, read=reading)
    with worker.held_back():
        results = worker.map(range(30), 20)
        waiting = threading.Thread(target=lambda: next(results))
        waiting.start()
        time.sleep(0.3)
        assert len(read) == 5
    waiting.join(10)
    assert list(results) == list(range(1, 30))


def test_an_item_in_line_behind_one_that_hangs_is_done_all_the_same() -> None:
    """Item 0 is read later than item 1, which then has the only CPU."""
    computing, release = threading.Event(), threading.Event()

    def reading(item: int) -> int:
        if item == 0:
            computing.wait(10)
        return item

    def work(item: int) -> int:
        if item == 1:
            computing.set()
            release.wait()
        return item

    worker = lookahead(work, timeout_s=0.2, read=reading)
    try:
        assert list(worker.map(range(4), 3)) == [0, -2, 2, 3]
    finally:
        release.set()


@pytest.mark.parametrize("together", [1, 3, 50])
def test_results_waited_for_together_are_the_same(together: int) -> None:
    assert list(lookahead(lambda item: item * 2).map(range(20), 8, together)) == list(range(0, 40, 2))


def test_a_caller_that_leaves_ends_the_work() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        time.sleep(0.005)
        done.append(item)
        return item

    worker = lookahead(work)
    results = worker.map(range(100), 50)
    assert next(results) == 0
    results.close()
    assert list(worker.map(range(3), 1)) == [0, 1, 2]
    assert len(done) < 20
    assert list(worker.map(range(3), 1)) == [0, 1, 2]


def test_an_item_left_behind_while_it_was_read_is_given_up() -> None:
    """Item 1 hangs while it is computed and item 2 while it is read; item 0 is read late, and waits for item 1."""
    computing, release = threading.Event(), threading.Event()

    def reading(item: int) -> int:
        if item == 0:
            computing.wait(10)
        if item == 2:
            release.wait(0.5)
        return item

    def work(item: int) -> int:
        if item == 1:
            computing.set()
            release.wait()
        return item

    worker = lookahead(work, timeout_s=0.2, read=reading)
    try:
        results = list(worker.map(range(4), 3))
        assert results[:2] == [0, -2]
        assert results[2] in (2, -3)
        assert results[3] == 3
    finally:
        release.set()

"""Work done ahead in threads, in order, bounded in number and in time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError  # a class of its own until Python 3.11
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lookahead(Generic[Item, Result]):
    """Threads that work on the next items while the caller works on the last result.

    Python can't end a thread. One that takes too long is left behind, with its item's result replaced, and new threads
    take over; `num_stuck` tells the owner when a process has gathered too many of them.

    Args:
        function: called in the threads; what it raises is raised to the caller, at its item's turn.
        threads: at work at the same time.
        timeout_s: that one call may take.
        give_up: called with an item that took longer; its return value becomes the item's result.
    """

    def __init__(
        self, function: Callable[[Item], Result], threads: int, timeout_s: float, give_up: Callable[[Item], Result]
    ) -> None:
        self._function, self._threads, self._timeout_s, self._give_up = function, threads, timeout_s, give_up
        self._pool = self._new_pool()
        self._stuck: list[Future[Result]] = []

    @property
    def num_stuck(self) -> int:
        """Threads that were left behind and are still not done."""
        self._stuck = [future for future in self._stuck if not future.done()]
        return len(self._stuck)

    def map(self, items: Iterable[Item], ahead: int) -> Generator[Result, None, None]:
        """Like `map`, in the same order.

        Args:
            items: taken from only as far as needed.
            ahead: results held or in the making beyond the one handed out, at most; with 0 an item is taken only when
                the caller asks for its result.
        """
        pending: deque[_Task[Item, Result]] = deque()
        try:
            for item in items:
                pending.append(_Task(item, self._function, self._pool))
                if len(pending) > ahead:
                    yield self._result(pending.popleft(), pending)
            while pending:
                yield self._result(pending.popleft(), pending)
        finally:
            for task in pending:
                task.future.cancel()

    def close(self) -> None:
        """Let the threads end, without waiting for those that don't."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _result(self, task: _Task[Item, Result], pending: Iterable[_Task[Item, Result]]) -> Result:
        if task.finishes_within(self._timeout_s):
            return task.future.result()
        self._stuck.append(task.future)
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool()
        result = self._give_up(task.item)
        # Others may wait for what the one that hangs holds, so they begin anew, those under way too.
        for waiting in pending:
            self._stuck.append(waiting.future)
            waiting.begin_anew(self._pool)
        return result

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="ahead")


class _Task(Generic[Item, Result]):
    def __init__(self, item: Item, function: Callable[[Item], Result], pool: ThreadPoolExecutor) -> None:
        self.item, self._function = item, function
        self._submit(pool)

    def begin_anew(self, pool: ThreadPoolExecutor) -> None:
        """Begin in other threads, unless it is done; what a thread makes of it that is under way is not waited for."""
        if not self.future.done():
            self.future.cancel()
            self._submit(pool)

    def finishes_within(self, timeout_s: float) -> bool:
        """Wait for the result, for so long after the start, which may lie ahead."""
        while not self.future.done():
            left_s = self._started_s[0] + timeout_s - time.monotonic() if self._started_s else timeout_s
            if left_s <= 0:
                return False
            _wait(self.future, left_s)
        return True

    def _submit(self, pool: ThreadPoolExecutor) -> None:
        self._started_s: list[float] = []
        self.future: Future[Result] = pool.submit(self._run, self._started_s)

    def _run(self, started_s: list[float]) -> Result:
        started_s.append(time.monotonic())
        return self._function(self.item)


def _wait(future: Future[Result], seconds: float) -> None:
    try:
        future.exception(timeout=seconds)
    except FutureTimeoutError:
        return

"""Work done ahead in threads, in order, bounded in number, in time and in CPUs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError  # a class of its own until Python 3.11
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Event
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Half = TypeVar("Half")
Result = TypeVar("Result")

# Patience with results that are waited for together; the caller then takes them one by one.
_TOGETHER_S = 1.0


@dataclass(frozen=True, slots=True)
class Stages(Generic[Item, Half, Result]):
    """What is done with an item, in two stages; what they raise is raised to the caller, at the item's turn.

    Attributes:
        read: waits for files, mostly.
        compute: does the rest with what was read; uses a CPU.
        give_up: called with an item that took too long; its return value becomes the item's result.
        size: bytes of what was read.
    """

    read: Callable[[Item], Half]
    compute: Callable[[Half], Result]
    give_up: Callable[[Item], Result]
    size: Callable[[Half], int]


class Lookahead(Generic[Item, Half, Result]):
    """Threads that work on the next items while the caller works on the last result.

    Python can't end a thread. One that takes too long is left behind, with its item's result replaced, and new threads
    take over; `num_stuck` tells the owner when a process has gathered too many of them.

    Args:
        stages: what is done with an item.
        readers: threads that read.
        cpus: threads that compute.
        timeout_s: that a stage of an item may take.
        room: bytes that are read and wait to be computed, at most; each reader may hold one more item.
    """

    def __init__(
        self, stages: Stages[Item, Half, Result], *, readers: int, cpus: int, timeout_s: float, room: int
    ) -> None:
        self._stages, self._timeout_s = stages, timeout_s
        self._readers = readers
        self._new_crew: Callable[[int], _Crew] = lambda readers: _Crew(readers, cpus, _Room(room))
        self._crew = self._new_crew(self._readers)
        self._pending: deque[_Try[Item, Half, Result]] = deque()
        self._stuck: list[Future[Result]] = []

    @property
    def num_stuck(self) -> int:
        """Threads that were left behind and are still not done."""
        self._stuck = [future for future in self._stuck if not future.done()]
        return len(self._stuck)

    def map(self, items: Iterable[Item], ahead: int, together: int = 1) -> Generator[Result, None, None]:
        """Like `map`, in the same order; one at a time.

        Args:
            items: taken from only as far as needed.
            ahead: results held or in the making beyond the one handed out, at most; with 0 an item is taken only when
                the caller asks for its result.
            together: results that are waited for at once, if they don't take long: each time that the caller is woken
                costs.
        """
        try:
            for item in items:
                self._pending.append(self._begin(item))
                if len(self._pending) > ahead:
                    yield self._next(together)
            while self._pending:
                yield self._next(together)
        finally:
            for attempt in self._pending:
                attempt.leave()
            self._pending.clear()

    def read_with(self, readers: int) -> None:
        """From now on so many threads read; not to be called while results are waited for."""
        if readers != self._readers:
            self._readers = readers
            self._crew.leave()
            self._crew = self._new_crew(self._readers)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Within it no item begins to be computed: the caller has the CPUs."""
        may_compute = self._crew.may_compute
        may_compute.clear()
        try:
            yield
        finally:
            may_compute.set()

    def _next(self, together: int) -> Result:
        if not self._pending[0].future.done():
            _wait(self._pending[min(together, len(self._pending)) - 1].future, min(_TOGETHER_S, self._timeout_s))
        return self._result(self._pending.popleft())

    def _result(self, attempt: _Try[Item, Half, Result]) -> Result:
        while not attempt.is_left and not self._finishes(attempt):
            if self._is_overdue(attempt):
                self._leave(attempt)
                result = self._stages.give_up(attempt.item)
                # Others may have waited for what this one held, those too that take too long.
                self._replace_crew(lambda _: True)
                return result
            # Another item hangs, and has the CPU that this one waits for: that is given up at its turn.
            self._pending.appendleft(attempt)
            self._replace_crew(lambda waiting: not self._is_overdue(waiting))
            attempt = self._pending.popleft()
        if attempt.is_left:
            return self._stages.give_up(attempt.item)  # its time was up when others began anew
        return attempt.future.result()

    def _is_overdue(self, attempt: _Try[Item, Half, Result]) -> bool:
        since_s = attempt.since_s
        return since_s is not None and _left_s(since_s, self._timeout_s) <= 0

    def _finishes(self, attempt: _Try[Item, Half, Result]) -> bool:
        """Wait for a result, until its stage takes too long, or that of an item in front of it."""
        while not attempt.future.done():
            since_s = attempt.since_s
            left_s = self._crew.left_s(self._timeout_s) if since_s is None else _left_s(since_s, self._timeout_s)
            if left_s <= 0:
                return False
            _wait(attempt.future, left_s)
        return True

    def _begin(self, item: Item) -> _Try[Item, Half, Result]:
        attempt = _Try(item, self._stages, self._crew)
        self._crew.readers.submit(attempt.read)
        return attempt

    def _leave(self, attempt: _Try[Item, Half, Result]) -> None:
        if attempt.since_s is not None and not attempt.is_left:
            self._stuck.append(attempt.future)
        attempt.leave()

    def _replace_crew(self, wanted: Callable[[_Try[Item, Half, Result]], bool]) -> None:
        """Leave the threads, and with them what isn't done; what is wanted begins anew."""
        unfinished = [(position, one) for position, one in enumerate(self._pending) if not one.future.done()]
        for _, attempt in unfinished:
            self._leave(attempt)  # before the crew goes, to which it could no longer be handed on
        self._crew.leave()
        self._crew = self._new_crew(self._readers)
        for position, attempt in unfinished:
            if wanted(attempt):
                self._pending[position] = self._begin(attempt.item)


class _Room:
    """Bytes that may be taken at once; what is larger than all of it waits until nothing else is there."""

    def __init__(self, size: int) -> None:
        self._size, self._taken, self._is_closed = size, 0, False
        self._changed = Condition()

    def take(self, size: int) -> None:
        with self._changed:
            while self._taken and self._taken + size > self._size and not self._is_closed:
                self._changed.wait()
            self._taken += size

    def release(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    def close(self) -> None:
        """Let all in that wait."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class _Crew:
    """Threads of both stages."""

    def __init__(self, readers: int, cpus: int, room: _Room) -> None:
        self.readers = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._room = room
        self.may_compute = Event()
        self.may_compute.set()
        self._computers = ThreadPoolExecutor(cpus, thread_name_prefix="compute")
        self._at_work: set[_Try[Any, Any, Any]] = set()

    def submit(self, attempt: _Try[Any, Any, Any], size: int, compute: Callable[[], None]) -> None:
        """Compute in turn, once there is room for what was read."""

        def turn() -> None:
            self.may_compute.wait()
            self._room.release(size)
            self._at_work.add(attempt)
            try:
                compute()
            finally:
                self._at_work.discard(attempt)

        self._room.take(size)
        self._computers.submit(turn)

    def left_s(self, timeout_s: float) -> float:
        """Time until an item computes for too long; the whole where none does."""
        since_s = [attempt.since_s for attempt in tuple(self._at_work)]
        return min((_left_s(since, timeout_s) for since in since_s if since is not None), default=timeout_s)

    def leave(self) -> None:
        """Let the threads end when they can."""
        self._room.close()
        # What waits in line would keep what was read in memory.
        self.readers.shutdown(wait=False, cancel_futures=True)
        self._computers.shutdown(wait=False, cancel_futures=True)


class _Try(Generic[Item, Half, Result]):
    """An item on its way through both stages."""

    def __init__(self, item: Item, stages: Stages[Item, Half, Result], crew: _Crew) -> None:
        self.item, self._stages, self._crew = item, stages, crew
        self.future: Future[Result] = Future()
        self.since_s: float | None = None  # when its stage began; None while it waits for a thread
        self.is_left = False  # nobody waits for the result

    def leave(self) -> None:
        """Begin no further stage."""
        self.is_left = True

    def read(self) -> None:
        """The first stage, in a thread; the second follows."""
        if self.is_left:
            self.future.cancel()
            return
        self.since_s = time.monotonic()
        try:
            half = self._stages.read(self.item)
            self.since_s = None
            self._crew.submit(self, self._stages.size(half), lambda: self._compute(half))
        except BaseException as error:
            self.future.set_exception(error)

    def _compute(self, half: Half) -> None:
        if self.is_left:
            self.future.cancel()
            return
        self.since_s = time.monotonic()
        try:
            self.future.set_result(self._stages.compute(half))
        except BaseException as error:
            self.future.set_exception(error)


def _left_s(since_s: float, timeout_s: float) -> float:
    return since_s + timeout_s - time.monotonic()


def _wait(future: Future[Any], seconds: float) -> bool:
    """Whether it is done within so many seconds."""
    try:
        future.exception(timeout=max(0.0, seconds))
    except FutureTimeoutError:
        return False
    except CancelledError:
        return True
    return True

"""Work done ahead in threads, in order and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], pool: Executor, lookahead: int
) -> Iterator[Result]:
    """Like `map`, in the same order, but a pool works on the next items while the caller works on the last result.

    Args:
        function: called in the pool's threads; what it raises is raised here, at its item's turn.
        items: taken from only as far as needed.
        pool: does the work.
        lookahead: results held or in the making beyond the one handed out, at most.
    """
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > lookahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()

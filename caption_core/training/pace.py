"""How fast training goes, what of it is spent waiting for input, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta


class Pace:
    """Counts the updates of an epoch and the time that they take, from when it is made.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._started = clock, clock()
        self._updates = self._images = 0
        self._waited_s = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for input."""
        began = self._clock()
        try:
            yield
        finally:
            self._waited_s += self._clock() - began

    def count(self, images: int) -> None:
        """Count an update on so many images, over all workers."""
        self._updates += 1
        self._images += images

    @property
    def elapsed_s(self) -> float:
        """Seconds since the epoch began."""
        return self._clock() - self._started

    @property
    def images_per_s(self) -> float:
        """Images that all workers together have trained on a second, each with its captions."""
        return self._images / max(self.elapsed_s, 1e-9)

    @property
    def waiting_share(self) -> float:
        """Part of the time in which this worker had no input to work on, 0 to 1."""
        return self._waited_s / max(self.elapsed_s, 1e-9)

    def remaining_s(self, updates: int) -> float:
        """Seconds that so many updates more will take at the pace so far; infinity before the first."""
        return updates * self.elapsed_s / self._updates if self._updates else float("inf")

    def figures(self) -> dict[str, float]:
        """The epoch in numbers, for its history."""
        return {
            "train_s": round(self.elapsed_s, 1),
            "images_per_s": round(self.images_per_s, 1),
            "waiting_share": round(self.waiting_share, 3),
        }

    def describe(self, remaining_s: float) -> str:
        """Rate, share and what is left, as a part of a line of progress."""
        left = str(timedelta(seconds=round(remaining_s)))
        return f"{self.images_per_s:.1f} images/s, {self.waiting_share:.0%} waiting for input, {left} left in the stage"

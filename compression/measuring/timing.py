"""How speed is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass

from caption_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Timing:
    """How speed is measured: on this machine, when everything else is done.

    Attributes:
        threads: as many measurements as numbers of threads; each has as many cores.
        batches: images a batch that are tried; measured are the smallest and the fastest of the others.
        beam_widths: searches that are timed.
        images: how many images a repeat captions, rounded up to whole batches.
        repeats: repeats, in which the variants take turns.
    """

    threads: tuple[int, ...] = (1, 2)
    batches: tuple[int, ...] = (1, 8, 32)
    beam_widths: tuple[int, ...] = (3,)
    images: int = 256
    repeats: int = 3

    def __post_init__(self) -> None:
        for what in ("threads", "batches", "beam_widths"):
            values = getattr(self, what)
            if not values or min(values) < 1 or len(set(values)) < len(values):
                raise UsageError(f"{what.replace('_', ' ')} to time must be different numbers from 1, not {values}")
        for what in ("images", "repeats"):
            if getattr(self, what) < 1:
                raise UsageError(f"{what} to time must be at least 1, not {getattr(self, what)}")

    def check_cores(self) -> None:
        """See to it that every measurement can have its cores.

        Raises:
            UsageError: this process may use fewer cores than threads are asked for.
        """
        cores = len(os.sched_getaffinity(0))
        if max(self.threads) > cores:
            raise UsageError(f"speed with {max(self.threads)} threads can't be measured: {cores} cores are available")

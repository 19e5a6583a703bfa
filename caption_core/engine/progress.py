"""What a run tells while it works: a bar in a terminal, lines everywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from tqdm import tqdm

from caption_core.archive.outcomes import OutcomeCounts

# Often enough to see that a job lives, rare enough that the log of a day's run stays readable.
LINE_EVERY_S = 10.0
STALL_AFTER_S = 30.0


class Progress(Protocol):
    """Takes what happens in a run and shows it."""

    def note(self, text: str) -> None:
        """Show a sentence."""
        ...

    def add(self, counts: OutcomeCounts) -> None:
        """Take in a finished shard."""
        ...

    def close(self) -> None:
        """Show the last state."""
        ...


class BarProgress:
    """A tqdm bar.

    Args:
        num_images: images of the whole run.
        num_done: images that an earlier run captioned.
        stream: a terminal.
    """

    def __init__(self, num_images: int, num_done: int, stream: TextIO) -> None:
        self._stream = stream
        self._failed = 0
        self._bar = tqdm(total=num_images, initial=num_done, unit=" images", file=stream, dynamic_ncols=True)

    def note(self, text: str) -> None:
        """Show a sentence above the bar."""
        tqdm.write(text, file=self._stream)

    def add(self, counts: OutcomeCounts) -> None:
        """Move the bar."""
        self._failed += counts.failed
        if self._failed:
            self._bar.set_postfix_str(f"{self._failed:,} failed", refresh=False)
        self._bar.update(counts.total)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


class LineProgress:
    """A line every few seconds: done, rate, time left.

    Args:
        num_images: images of the whole run.
        num_done: images that an earlier run captioned.
        stream: where lines go.
        clock: seconds.
    """

    def __init__(
        self, num_images: int, num_done: int, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._num_images, self._num_before, self._stream, self._clock = num_images, num_done, stream, clock
        self._counts = OutcomeCounts()
        self._first: tuple[float, int] | None = None
        self._shown_s = -LINE_EVERY_S
        self._shown_images = 0

    def note(self, text: str) -> None:
        """Write a sentence."""
        print(text, file=self._stream, flush=True)

    def add(self, counts: OutcomeCounts) -> None:
        """Count a shard, and write a line if the last one is old enough."""
        self._counts += counts
        now_s = self._clock()
        if self._first is None:
            self._first = now_s, counts.total
        if now_s - self._shown_s >= LINE_EVERY_S:
            self._show(now_s)

    def close(self) -> None:
        """Write the last state, unless it stands there already."""
        if self._counts.total != self._shown_images:
            self._show(self._clock())

    def _show(self, now_s: float) -> None:
        self._shown_s, self._shown_images = now_s, self._counts.total
        done = self._num_before + self._counts.total
        text = f"{done:,} / {self._num_images:,} images ({100 * done / self._num_images:.0f} %)"
        if self._counts.failed:
            text += f", {self._counts.failed:,} failed"
        if rate := self._rate(now_s):
            text += f", {rate:.1f} images/s, {_duration((self._num_images - done) / rate)} left"
        self.note(text)

    def _rate(self, now_s: float) -> float | None:
        """Images a second since the first shard was done, so that start-up doesn't darken the outlook."""
        if self._first is None or now_s <= self._first[0]:
            return None
        return (self._counts.total - self._first[1]) / (now_s - self._first[0]) or None


def show_progress(num_images: int, num_done: int, stream: TextIO) -> Progress:
    """The progress display that suits a stream."""
    display = BarProgress if stream.isatty() else LineProgress
    return display(num_images, num_done, stream)


@contextmanager
def stall_notices(
    progress: Progress, why: Callable[[], str], after_s: float = STALL_AFTER_S
) -> Iterator[Callable[[], None]]:
    """Say why nothing happens whenever nothing happened for a while; yields what to call when something did."""
    happened, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if not happened.wait(after_s) and not ended.is_set():
                progress.note(f"no shard finished in the last {after_s:.0f} s: {_reason(why)}")
            happened.clear()

    watcher = threading.Thread(target=watch, daemon=True, name="stall-notices")
    watcher.start()
    try:
        yield happened.set
    finally:
        ended.set()
        happened.set()
        watcher.join(timeout=5)


def _reason(why: Callable[[], str]) -> str:
    try:
        return why()
    except Exception as error:
        # A cluster that is going away must not take the notices with it.
        return f"the cluster doesn't answer ({error})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

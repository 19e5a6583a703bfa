"""How far a run is, written down while it works, so that its output folder alone can tell."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from caption_core.archive.storage import Storage

_FILE = "progress.json"
WRITE_EVERY_S = 15.0
# A driver that didn't write for so long is gone, or can't reach its output.
STALE_AFTER_S = 4 * WRITE_EVERY_S


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A moment of a run.

    Attributes:
        num_images: of the whole run.
        num_done: with a row, those of earlier runs included.
        num_failed: of those that this run worked on.
        images_per_s: steady rate; None before there is one.
        written_s: seconds since the epoch.
        process: host and number of the driver's process.
        ended: whether the run has ended, in whatever way.
        listing: whether it still lists its inputs, and nothing else is known of it.
    """

    num_images: int
    num_done: int
    num_failed: int
    images_per_s: float | None
    written_s: float
    process: str
    ended: bool = False
    listing: bool = False

    @classmethod
    def of_listing(cls, *, ended: bool) -> RunProgress:
        """Of a run that has just begun, in this process."""
        return cls(0, 0, 0, None, time.time(), process_name(), ended, listing=True)

    @property
    def is_alive(self) -> bool:
        """Whether the run seems to be working: it told lately, and its process isn't known to be gone."""
        return not self.ended and time.time() - self.written_s < STALE_AFTER_S and not _is_gone(self.process)


def process_name() -> str:
    """This process, for people."""
    return f"{os.uname().nodename}:{os.getpid()}"


def _is_gone(process: str) -> bool:
    host, _, pid = process.rpartition(":")
    return host == os.uname().nodename and not Path(f"/proc/{pid}").exists()


def read_progress(state: Storage) -> RunProgress | None:
    """The last moment that was written; None where there is none that can be read."""
    try:
        return RunProgress(**json.loads(state.read(_FILE)))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def progress_written(
    state: Storage, moment: Callable[[bool], RunProgress], every_s: float = WRITE_EVERY_S
) -> Iterator[Callable[[], None]]:
    """Write the run's progress down every few seconds, and at the end; yields what writes it at any other moment.

    Args:
        state: the run's state folder.
        moment: gives the progress; its argument says whether the run has ended.
        every_s: seconds between two writings.
    """
    ended = threading.Event()

    def write(is_end: bool) -> None:
        # The progress is for people; a disk that is full ends the run elsewhere.
        with suppress(OSError):
            state.write(_FILE, json.dumps(asdict(moment(is_end))).encode())

    def keep_writing() -> None:
        while not ended.wait(every_s):
            write(False)

    write(False)
    writer = threading.Thread(target=keep_writing, daemon=True, name="progress")
    writer.start()
    try:
        yield lambda: write(False)
    finally:
        ended.set()
        writer.join(timeout=every_s)
        write(True)

"""What each actor of a run keeps and does: a captioner, shard after shard."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from caption_core.archive.patience import patiently
from caption_core.archive.run_record import STATE_FOLDER
from caption_core.engine.native_stderr import native_stderr_in
from caption_core.engine.shard_captioner import ShardCaptioner
from caption_core.engine.watchdog import Watchdog
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.engine.worker_metrics import WorkerMetrics
from caption_core.errors import CapstanError
from caption_core.images import describe


@dataclass(frozen=True, slots=True)
class ShardResult:
    """How an actor ended a shard.

    Attributes:
        summary: what it did; None where it failed.
        failure: why, for the user; errors that one can act on would reach the driver as text among Ray's own if they
            were raised.
        is_worn_out: whether the actor should be replaced before the next shard.
    """

    summary: ShardSummary | None
    failure: str = ""
    is_worn_out: bool = False


class ShardActor:
    """A Ray actor's content.

    Args:
        work: the run's.
    """

    def __init__(self, work: CaptioningWork) -> None:
        self._captioner: ShardCaptioner | None = None
        self._failure = ""
        self._watchdog = Watchdog(work.image_timeout_s, work.batch_size)
        self._metrics = WorkerMetrics()
        try:
            self._captioner = patiently(lambda: self._loaded(work))
        except Exception as error:
            self._failure = _told(error)
        self._watchdog.rest()
        # What is there now stays: the garbage collector need not look at it again and again.
        gc.collect()
        gc.freeze()

    def _loaded(self, work: CaptioningWork) -> ShardCaptioner:
        with _silent_loading(work.output.local_folder):
            return ShardCaptioner(work, self._watchdog.beat)

    def failure(self) -> str:
        """Why it can't work; empty if it can."""
        return self._failure

    def caption_shard(self, shard_id: int) -> ShardResult:
        """Caption a shard and commit its part."""
        captioner = self._captioner
        if captioner is None:
            return ShardResult(None, self._failure)
        self._watchdog.beat()
        try:
            summary = patiently(lambda: captioner.caption_shard(shard_id), self._watchdog.beat)
        except Exception as error:
            return ShardResult(None, f"shard {shard_id}: {_told(error)}")
        finally:
            self._watchdog.rest()
        self._metrics.add(summary)
        return ShardResult(summary, is_worn_out=captioner.is_worn_out)


def _told(error: Exception) -> str:
    """What the user reads; of an error that nobody foresaw its type too."""
    text = describe(error)
    return text if isinstance(error, (CapstanError, OSError)) else f"{type(error).__name__}: {text}"


@contextmanager
def _silent_loading(output: Path | None) -> Iterator[None]:
    """Keep what runtimes print while they load off the user's screen, and on disk should they crash."""
    if output is None:
        yield
        return
    log = output / STATE_FOLDER / f"loading-{os.uname().nodename}-{os.getpid()}.log"
    try:
        with native_stderr_in(log):
            yield
    finally:
        log.unlink(missing_ok=True)

"""How fast a run is, added up shard by shard."""

from __future__ import annotations

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.engine.work import ShardSummary, StageSeconds


class RunTally:
    """What a run's workers did so far, in memory that doesn't grow with the run.

    Attributes:
        counts: how their images ended.
        stages: where their time went, all workers together.
        num_bytes: of images, read.
        num_shards: that they committed.
        peak_memory_bytes: of the worker that had most.
        first_shard_s: when the first one was committed, in seconds since the epoch; None before.
    """

    def __init__(self) -> None:
        self.counts = OutcomeCounts()
        self.stages = StageSeconds()
        self.num_bytes = self.num_shards = self.peak_memory_bytes = 0
        self.first_shard_s: float | None = None
        self._last_s = 0.0
        self._images_after_first = 0.0
        self._by_worker: dict[str, tuple[int, float]] = {}

    def add(self, summary: ShardSummary) -> None:
        """Take in a shard."""
        self.counts += summary.counts
        self.stages += summary.stages
        self.num_bytes += summary.num_bytes
        self.num_shards += 1
        self.peak_memory_bytes = max(self.peak_memory_bytes, summary.peak_memory_bytes)
        images, busy_s = self._by_worker.get(summary.worker, (0, 0.0))
        duration_s = summary.finished_s - summary.started_s
        self._by_worker[summary.worker] = images + summary.counts.total, busy_s + duration_s
        self._last_s = max(self._last_s, summary.finished_s)
        if self.first_shard_s is None:
            self.first_shard_s = summary.finished_s
        else:
            self._images_after_first += _images_after(summary, self.first_shard_s)

    def steady_rate(self) -> float | None:
        """Images a second from the moment the first shard was done: without start-up and warm-up.

        A shard that was under way at that moment counts with the share of its time that came after. None where nothing
        came after.
        """
        if self.first_shard_s is None or self._last_s <= self.first_shard_s:
            return None
        return self._images_after_first / (self._last_s - self.first_shard_s)

    def rate_by_worker(self) -> dict[str, float]:
        """Images a second of each worker's working time."""
        return {worker: images / busy_s for worker, (images, busy_s) in self._by_worker.items() if busy_s > 0}


def _images_after(summary: ShardSummary, moment_s: float) -> float:
    duration_s = summary.finished_s - summary.started_s
    if duration_s <= 0:
        return float(summary.counts.total) if summary.finished_s > moment_s else 0.0
    after_s = summary.finished_s - max(summary.started_s, moment_s)
    return summary.counts.total * max(0.0, after_s) / duration_s

"""A worker's figures as Ray metrics, which Ray exports to Prometheus."""

from __future__ import annotations

from dataclasses import asdict

from ray.util.metrics import Counter

from caption_core.engine.work import ShardSummary


class WorkerMetrics:
    """Counters of one worker; Ray adds the node and the worker to them."""

    def __init__(self) -> None:
        self._images = Counter("capstan_images", "Images that ended as a row, by outcome.", tag_keys=("outcome",))
        self._bytes = Counter("capstan_read_bytes", "Bytes of images that were read.")
        self._shards = Counter("capstan_shards", "Shards that were committed.")
        self._seconds = Counter("capstan_stage_seconds", "Where the time went, by stage.", tag_keys=("stage",))

    def add(self, summary: ShardSummary) -> None:
        """Count a shard."""
        outcomes = {"ok": summary.counts.ok, **summary.counts.failed_by_kind}
        for outcome, number in outcomes.items():
            _increase(self._images, number, {"outcome": outcome})
        for stage, seconds in asdict(summary.stages).items():
            _increase(self._seconds, seconds, {"stage": stage})
        _increase(self._bytes, summary.num_bytes, {})
        _increase(self._shards, 1, {})


def _increase(counter: Counter, value: float, tags: dict[str, str]) -> None:
    if value > 0:  # Ray refuses to count nothing
        counter.inc(value, tags)

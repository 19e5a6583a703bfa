"""How fast a run was."""

from __future__ import annotations

from collections.abc import Sequence

from caption_core.engine.shard_captioner import ShardSummary


def steady_rate(summaries: Sequence[ShardSummary]) -> float | None:
    """Images a second from the moment the first shard was done: without start-up and warm-up.

    A shard that was under way at that moment counts with the share of its time that came after. None where nothing
    came after.
    """
    if len(summaries) < 2:
        return None
    start_s = min(summary.finished_s for summary in summaries)
    end_s = max(summary.finished_s for summary in summaries)
    if end_s <= start_s:
        return None
    return sum(_images_after(summary, start_s) for summary in summaries) / (end_s - start_s)


def _images_after(summary: ShardSummary, moment_s: float) -> float:
    duration_s = summary.finished_s - summary.started_s
    if duration_s <= 0:
        return float(summary.counts.total) if summary.finished_s > moment_s else 0.0
    after_s = summary.finished_s - max(summary.started_s, moment_s)
    return summary.counts.total * max(0.0, after_s) / duration_s

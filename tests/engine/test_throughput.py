"""The steady rate leaves out start-up, and only that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.engine.throughput import RunTally
from caption_core.engine.work import ShardSummary, StageSeconds


def shard(started_s: float, finished_s: float, images: int = 100) -> ShardSummary:
    return ShardSummary(0, OutcomeCounts(images), "worker", started_s, finished_s)


def tally(summaries: Sequence[ShardSummary]) -> RunTally:
    total = RunTally()
    for summary in summaries:
        total.add(summary)
    return total


def steady_rate(summaries: Sequence[ShardSummary]) -> float | None:
    return tally(summaries).steady_rate()


def test_one_worker_at_a_constant_rate() -> None:
    assert steady_rate([shard(10 * i, 10 * (i + 1)) for i in range(5)]) == pytest.approx(10)


def test_a_slow_first_shard_does_not_count() -> None:
    assert steady_rate([shard(0, 60), shard(60, 70), shard(70, 80)]) == pytest.approx(10)


def test_workers_side_by_side_add_up_however_they_are_shifted() -> None:
    one = [shard(10 * i, 10 * (i + 1)) for i in range(5)]
    other = [shard(10 * i + 3, 10 * (i + 1) + 3) for i in range(5)]
    # From 10 to 53: 43 s; the first works until 50, the second until 53.
    assert steady_rate([*one, *other]) == pytest.approx((40 * 10 + 43 * 10) / 43)


def test_failed_images_are_images() -> None:
    failed = ShardSummary(1, OutcomeCounts(0, {"corrupt": 50}), "worker", 10, 20)
    assert steady_rate([shard(0, 10), failed]) == pytest.approx(5)


@pytest.mark.parametrize("summaries", [[], [shard(0, 10)], [shard(0, 10), shard(5, 10)], [shard(3, 3), shard(3, 3)]])
def test_without_a_second_moment_there_is_no_rate(summaries: list[ShardSummary]) -> None:
    assert steady_rate(summaries) is None


def test_a_shard_found_committed_takes_no_time() -> None:
    assert steady_rate([shard(0, 10), shard(15, 15), shard(10, 20)]) == pytest.approx(20)


def test_everything_is_added_up() -> None:
    stages = StageSeconds(read=1, decode=2, encode=3, search=4, write=5)
    one = ShardSummary(0, OutcomeCounts(30), "a", 0, 10, stages, 1000)
    other = ShardSummary(1, OutcomeCounts(5, {"corrupt": 5}), "b", 0, 5, stages, 500)
    total = tally([one, other, one])
    assert total.counts == OutcomeCounts(65, {"corrupt": 5})
    assert total.stages == StageSeconds(3, 6, 9, 12, 15)
    assert (total.num_bytes, total.num_shards) == (2500, 3)
    assert total.rate_by_worker() == {"a": 3.0, "b": 2.0}

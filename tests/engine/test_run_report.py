"""The report says what came of every image, in words and as a file."""

from __future__ import annotations

import json
from pathlib import Path

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.run_record import begin_record
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.engine.run_report import RunReport
from caption_core.engine.throughput import RunTally
from caption_core.engine.work import ShardSummary, StageSeconds


def report(
    counts: OutcomeCounts, worked: list[OutcomeCounts], *, parts: int = 16, before: int = 0, retried: bool = False
) -> RunReport:
    """Of a run whose shards took a second each, one after the other."""
    tally = RunTally()
    for second, shard in enumerate(worked):
        tally.add(ShardSummary(second, shard, "machine:1", second, second + 1, StageSeconds(read=0.5), 1000))
    record = begin_record(RunIdentity({"model_id": "m@1"}), ShardPlan(counts.total, 100, "d"), "plan-0", ["photos"])
    return RunReport(Storage.at("/data/captions"), record, counts, parts, before, retried, 10.0, tally)


def test_a_whole_run() -> None:
    counts = OutcomeCounts(998, {"corrupt": 1, "empty": 1})
    assert report(counts, [OutcomeCounts(500), OutcomeCounts(498, {"corrupt": 1, "empty": 1})]).lines() == [
        "1,000 images = 998 captioned + 2 failed (1 corrupt, 1 empty)",
        "100.0 images/s overall, 500.0 steady; 10.0 s with start-up",
        "captions in /data/captions (16 Parquet parts)",
    ]


def test_a_resumed_run_counts_only_its_own_images_in_its_rate() -> None:
    assert report(OutcomeCounts(1000), [OutcomeCounts(400)], before=600).lines()[1:3] == [
        "600 of them were finished by an earlier run",
        "40.0 images/s overall; 10.0 s with start-up",
    ]


def test_a_run_that_tried_failures_again() -> None:
    worked = [OutcomeCounts(30, {"timed_out": 10})]
    lines = report(OutcomeCounts(990, {"timed_out": 10}), worked, before=960, retried=True).lines()
    assert lines[1] == "40 of them were tried again: 30 are captioned now"


def test_a_finished_run() -> None:
    assert report(OutcomeCounts(1), [], parts=1, before=1).lines() == [
        "1 image = 1 captioned + 0 failed",
        "nothing to do: every shard was finished by an earlier run",
        "captions in /data/captions (1 Parquet part)",
    ]


def test_the_summary_reconciles_and_comes_before_the_mark(tmp_path: Path) -> None:
    counts = OutcomeCounts(198, {"corrupt": 2})
    whole = report(counts, [OutcomeCounts(100), OutcomeCounts(98, {"corrupt": 2})])
    RunReport(Storage.at(tmp_path), whole.record, counts, 2, 0, False, 10.0, whole.tally).write()
    summary = json.loads((tmp_path / "_report" / "summary.json").read_text())
    assert summary["images"] == summary["ok"] + summary["failed"] == 200
    assert summary["failed_by_kind"] == {"corrupt": 2}
    assert summary["this_run"]["images_per_s"] == {"overall": 20.0, "steady": 100.0, "by_actor": {"machine:1": 100.0}}
    assert summary["this_run"]["stage_seconds"]["read"] == 1.0
    assert (tmp_path / "_SUCCESS").read_bytes() == b""

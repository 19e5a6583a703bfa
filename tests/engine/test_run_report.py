"""The report says what came of every image."""

from __future__ import annotations

from pathlib import Path

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.engine.run_report import RunReport

OUTPUT = Path("/data/captions")


def test_a_whole_run() -> None:
    counts = OutcomeCounts(998, {"corrupt": 1, "empty": 1})
    assert RunReport(OUTPUT, counts, 16, 0, 10.0, 250.04).lines() == [
        "1,000 images = 998 captioned + 2 failed (1 corrupt, 1 empty)",
        "100.0 images/s overall, 250.0 steady; 10.0 s with start-up",
        "captions in /data/captions (16 Parquet parts)",
    ]


def test_a_resumed_run_counts_only_its_own_images_in_its_rate() -> None:
    lines = RunReport(OUTPUT, OutcomeCounts(1000), 4, 600, 10.0, None).lines()
    assert lines[1:3] == [
        "600 of them were finished by an earlier run",
        "40.0 images/s overall; 10.0 s with start-up",
    ]


def test_a_finished_run() -> None:
    assert RunReport(OUTPUT, OutcomeCounts(1), 1, 1, 0.1, None).lines() == [
        "1 image = 1 captioned + 0 failed",
        "nothing to do: every shard was finished by an earlier run",
        "captions in /data/captions (1 Parquet part)",
    ]

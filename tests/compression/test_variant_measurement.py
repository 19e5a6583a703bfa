"""What a rerun keeps of a variant's measurement, and what it measures anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caption_core.bundle import Bundle, open_bundle
from compression import variant_measurement
from compression.measurement import MEASUREMENT, Measurement, Quality, ScoredContent, read_measurement
from compression.measuring.loading import Loading
from compression.measuring.machine import measure_machine
from compression.measuring.quality import ScoredSplit
from compression.report.searches import quality_of
from compression.study import read_study
from compression.study_run import StudyConfig, finish_variant
from compression.training_images import TrainingImages
from compression.variant_measurement import measure_variant
from tests.compression.report.measurements import MACHINE, measurement, quality, speeds

DEV, TEST = ScoredContent("dev", 12, "dev's"), ScoredContent("test", 12, "test's")
NEW = 0.9
"""The score of what is captioned in a test."""

Scores = list[tuple[str, int, float]]


def scores_of(content: ScoredContent, score: float, *beam_widths: int) -> tuple[Quality, ...]:
    made = (quality(score, split=content.split, images=content.images, beam_width=width) for width in beam_widths)
    return tuple(one.model_copy(update={"digest": content.digest}) for one in made)


def told(qualities: tuple[Quality, ...]) -> Scores:
    return [(one.split, one.beam_width, one.scores["CIDEr-D"]) for one in qualities]


class Rerun:
    """Measures a variant that was measured before; captions are not made, but counted."""

    def __init__(self, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "s.yaml").write_text("name: s\nvariants:\n  a: []\n", encoding="utf-8")
        study = read_study(str(folder / "s.yaml"))
        self.config = StudyConfig(study, {"model": model}, folder / "out", TrainingImages(None, None, None, folder))
        self.bundle: Bundle = finish_variant(self.config, study.variants[1], open_bundle(model))
        self.captioned: list[tuple[str, int]] = []
        monkeypatch.setattr(variant_measurement, "measure_quality", self._quality)
        monkeypatch.setattr(variant_measurement, "measure_loading", lambda *_, **__: Loading(1.0, 0.5, 1.0, 1.0, 77.0))

    def __call__(self, content: ScoredContent | None, *beam_widths: int, **before: Any) -> Measurement:
        """Run again, behind a measurement of these fields; of none where there are none."""
        scored = ScoredSplit(content.split, Path("images"), "references", "split") if content else None
        config = replace(self.config, scored=scored, beam_widths=beam_widths or (1, 3))
        found = measurement("a", **before) if before else None
        made = measure_variant(config, config.study.variants[1], [], self.bundle, content, found)
        assert read_measurement(self.bundle.folder.parent / MEASUREMENT) == made
        return made

    def _quality(self, _: Path, scored: ScoredSplit, folder: Path, *, beam_width: int, threads: int) -> Quality:
        assert (folder, threads) == (self.bundle.folder.parent, 1)
        self.captioned.append((scored.name, beam_width))
        return quality(NEW, split=scored.name, beam_width=beam_width)


@pytest.fixture
def rerun(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Rerun:
    return Rerun(tmp_path, tiny_bundle, monkeypatch)


def test_a_first_run_scores_what_is_asked_for_and_says_of_what(rerun: Rerun) -> None:
    made = rerun(DEV, 1, 3)
    assert told(made.quality) == [("dev", 1, NEW), ("dev", 3, NEW)]
    assert {one.digest for one in made.quality} == {DEV.digest}
    assert (made.speed, made.load_s, made.memory_mb, made.machine) == ((), None, 77.0, measure_machine())


def test_times_are_kept_with_the_machine_that_they_are_of(rerun: Rerun) -> None:
    made = rerun(TEST, speed=speeds(5.0), load_s=0.125)
    assert (made.speed, made.load_s, made.memory_mb, made.machine) == (speeds(5.0), 0.125, 210.0, MACHINE)


def test_scores_of_another_split_are_kept_out_of_the_reports_sight(rerun: Rerun) -> None:
    made = rerun(TEST, 1, quality=scores_of(DEV, 0.5, 1, 3))
    assert told(made.quality) == [("test", 1, NEW)]
    assert told(made.other_quality) == [("dev", 1, 0.5), ("dev", 3, 0.5)]
    shown = quality_of(made)
    assert shown is not None
    assert (made.beam_width, shown.split, shown.beam_width) == (3, "test", 1)


def test_a_split_that_was_scored_before_is_shown_again_without_captioning(rerun: Rerun) -> None:
    before = {"quality": scores_of(TEST, 0.4, 1), "other_quality": scores_of(DEV, 0.5, 1)}
    made = rerun(DEV, 1, **before)
    assert (told(made.quality), told(made.other_quality)) == ([("dev", 1, 0.5)], [("test", 1, 0.4)])
    assert rerun.captioned == []


def test_other_beam_widths_of_the_split_are_kept_beside_those_that_are_asked_for(rerun: Rerun) -> None:
    made = rerun(DEV, 2, 1, quality=scores_of(DEV, 0.5, 1, 3))
    assert told(made.quality) == [("dev", 2, NEW), ("dev", 1, 0.5), ("dev", 3, 0.5)]
    assert rerun.captioned == [("dev", 2)]


def test_scores_of_a_split_that_was_edited_go_with_their_captions(rerun: Rerun) -> None:
    made = rerun(replace(DEV, digest="edited"), 1, quality=scores_of(DEV, 0.5, 1, 3))
    assert (told(made.quality), made.other_quality) == ([("dev", 1, NEW)], ())


def test_a_run_that_scores_nothing_keeps_all_scores(rerun: Rerun) -> None:
    before = {"quality": scores_of(TEST, 0.4, 1), "other_quality": scores_of(DEV, 0.5, 1)}
    made = rerun(None, **before, random_weights=True)
    assert (made.quality, made.other_quality) == (before["quality"], before["other_quality"])
    assert not made.random_weights

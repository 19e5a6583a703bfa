"""A study's steps as its processes take them, without Ray."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compression import variant_measurement
from compression.distributed import _measure, take_step
from compression.measurement import MEASUREMENT, Measurement, Quality, read_measurement, write_measurement
from compression.measuring.loading import Loading
from compression.measuring.quality import ScoredSplit
from compression.study import read_study
from compression.study_run import StudyConfig, plan_study
from compression.training_images import TrainingImages
from compression.variants import RECORD
from tests.bundle_builders import SyntheticSet
from tests.compression.report.measurements import MACHINE, quality, speeds

STUDY = """name: s
variants:
  a:
    - fine_tune: {training: {epochs: 2, encoder_from: Conv_1, learning_rate: 0.01, warmup_steps: 0}}
    - hard:
        part: encoder
        sparsity: 0.001
        layers: [Conv_1/]
        training: {objective: features, encoder_from: Conv_1, epochs: 1, learning_rate: 1.0e-9}
"""


@pytest.mark.slow
def test_features_are_taught_by_the_encoder_that_the_decoder_last_trained_with(
    tmp_path: Path, tiny_bundle: Path, synthetic_set: SyntheticSet
) -> None:
    (tmp_path / "s.yaml").write_text(STUDY)
    captions, split = synthetic_set.data_config(), str(synthetic_set.folder / "train.txt")
    images = TrainingImages(captions.images, split, captions, synthetic_set.folder / "cache")
    config = StudyConfig(read_study(str(tmp_path / "s.yaml")), {"model": tiny_bundle}, tmp_path / "out", images)
    plan = plan_study(config)
    for node in plan.nodes:
        folder = Path(take_step(config, node, plan.train_names))
    (epoch,) = json.loads((folder / RECORD).read_text())["history"]
    assert epoch["dev_feature_agreement"] > 0.99


def test_a_rerun_on_another_split_keeps_times_and_scores(
    tmp_path: Path, tiny_bundle: Path, synthetic_set: SyntheticSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text("name: s\nvariants:\n  a: []\n")
    study, no_data = read_study(str(tmp_path / "s.yaml")), TrainingImages(None, None, None, tmp_path)
    config = StudyConfig(study, {"model": tiny_bundle}, tmp_path / "out", no_data, beam_widths=(1,))
    path = config.variant_folder(study.variants[1]) / MEASUREMENT

    def measured_quality(_: Path, scored: ScoredSplit, *__: Any, **___: Any) -> Quality:
        return quality(0.5, split=scored.name, beam_width=1)

    monkeypatch.setattr(variant_measurement, "measure_quality", measured_quality)
    monkeypatch.setattr(variant_measurement, "measure_loading", lambda *_, **__: Loading(1.0, 0.5, 1.0, 1.0, 77.0))

    def run(split: str, names: str, **changes: Any) -> Measurement:
        (tmp_path / f"{split}.txt").write_text(names)
        captions = str(synthetic_set.folder / "captions.token.txt")
        scored = ScoredSplit(split, synthetic_set.folder / "images", captions, str(tmp_path / f"{split}.txt"))
        told = replace(config, scored=scored, **changes)
        _measure(told, study.variants[1], [], plan_study(told).scored, None)
        return read_measurement(path)

    dev = run("dev", "red_plain.png")
    timed = dev.model_copy(update={"speed": speeds(5.0), "load_s": 0.125, "machine": MACHINE})
    write_measurement(path, timed)
    test = run("test", "red_striped.png")
    assert (test.speed, test.load_s, test.machine) == (timed.speed, timed.load_s, timed.machine)
    assert (test.other_quality, [one.split for one in test.quality]) == (dev.quality, ["test"])

    written = path.stat().st_mtime_ns
    assert run("test", "red_striped.png") == test
    assert path.stat().st_mtime_ns == written
    edited = run("test", "blue_striped.png")
    assert (edited.quality != test.quality, edited.other_quality) == (True, dev.quality)
    marked = run("test", "blue_striped.png", random_weights=("model",))
    assert (marked.random_weights, marked.speed, marked.quality) == (True, timed.speed, edited.quality)

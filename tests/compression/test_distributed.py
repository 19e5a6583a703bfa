"""A study's steps as its processes take them, without Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compression.distributed import take_step
from compression.study import read_study
from compression.study_run import StudyConfig, TrainingImages, plan_study
from compression.variants import RECORD
from tests.bundle_builders import SyntheticSet

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

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from caption_core.models.weights import Weights
from caption_core.training.checkpoint import Snapshot
from caption_core.training.config import DecoderChoice, OptimizationConfig, StageConfig, TrainConfig
from caption_core.training.loop import CURVES, TrainingLoop
from tests.bundle_builders import SoloPeers, SyntheticSet, tiny_config, tiny_decoder
from tests.curve_reader import read_curves

STAGES = (
    StageConfig(epochs=2, learning_rate=0.001, train_encoder_from="block_16", warmup_steps=2, objective="concepts"),
    StageConfig(epochs=3, learning_rate=0.01, warmup_steps=2),
    StageConfig(epochs=2, learning_rate=0.001, train_encoder_from="Conv_1", warmup_steps=2),
)


def quiet(_: str) -> None:
    """Takes lines of progress to nowhere."""


@pytest.fixture
def config(synthetic_set: SyntheticSet, tmp_path: Path) -> TrainConfig:
    # Dropout and mirrored views are on: a resumed run must draw them as the uninterrupted one does.
    decoder = tiny_decoder(dropout=0.2)
    data = synthetic_set.data_config(views=3)
    return tiny_config(synthetic_set, tmp_path, stages=STAGES, decoder=decoder, data=data)


class KilledPeers(SoloPeers):
    """Saves its snapshots, and dies after some of them."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__()
        self.folder, self.after = folder, after

    def report(self, metrics: dict[str, Any], snapshot: Snapshot) -> None:
        super().report(metrics, snapshot)
        self.folder.mkdir()
        snapshot.save(self.folder)
        self.folder = self.folder.with_name(self.folder.name + "+")
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def run(config: TrainConfig, peers: SoloPeers, snapshot: Snapshot | None = None) -> SoloPeers:
    TrainingLoop(config, tf.distribute.get_strategy(), peers, snapshot, quiet).run()
    return peers


@pytest.mark.slow
def test_a_run_killed_after_an_epoch_goes_on_as_if_nothing_had_happened(config: TrainConfig, tmp_path: Path) -> None:
    uninterrupted = run(config, KilledPeers(tmp_path / "snapshot", after=99))
    whole = uninterrupted.snapshots[-1]
    assert [entry["epoch"] for entry in whole.progress.history] == [1, 2, 1, 2, 3, 1, 2]
    # Killed at the end of the stage of concepts, and in a later one.
    for after in (2, 4):
        resumed = run(config, SoloPeers(), Snapshot.load(tmp_path / ("snapshot" + "+" * (after - 1)))).snapshots[-1]
        assert [entry["epoch"] for entry in resumed.progress.history] == [1, 2, 1, 2, 3, 1, 2]
        assert resumed.progress.best_score == pytest.approx(whole.progress.best_score, abs=1e-6)
        for name, weight in whole.best.items():
            np.testing.assert_allclose(resumed.best[name], weight, atol=1e-5, err_msg=name)
    assert_stages_train_what_they_should(uninterrupted)


def assert_stages_train_what_they_should(peers: SoloPeers) -> None:
    first, concepts, captions, last = (peers.snapshots[index] for index in (0, 1, 4, 6))
    assert "head/detectors/kernel" in first.current
    assert "head/detectors/kernel" not in captions.current
    changed = changes(first.current, concepts.current)
    assert "encoder/block_16_project/kernel" in changed
    assert not any(name.startswith("decoder/") for name in changed)
    changed = changes(concepts.best, captions.best)
    assert "decoder/energy/kernel" in changed
    assert not any(name.startswith("encoder/") for name in changed)
    changed = changes(captions.best, last.current)
    assert {"encoder/Conv_1/kernel", "decoder/energy/kernel"} <= changed
    assert "encoder/block_16_project/kernel" not in changed
    # Batch norm's statistics stay those of the pretrained encoder.
    assert "encoder/Conv_1_bn/moving_mean" not in changed


def changes(before: Weights, after: Weights) -> set[str]:
    """Names of the weights that differ."""
    return {name for name in before.keys() & after.keys() if not np.array_equal(before[name], after[name])}


@pytest.mark.slow
def test_an_encoder_in_bfloat16_trains_as_the_one_in_float32_does(synthetic_set: SyntheticSet, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        config = tiny_config(
            synthetic_set,
            tmp_path / precision,
            stages=(StageConfig(epochs=2, learning_rate=0.001, train_encoder_from="Conv_1", warmup_steps=0),),
            optimization=OptimizationConfig(batch_images=4, precision=precision),
        )
        last = run(config, SoloPeers()).snapshots[-1]
        losses[precision] = [entry["loss"] for entry in last.progress.history]
        assert all(weight.dtype == np.float32 for weight in last.current.values())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"), [("aoa", {"refining_layers": 1, "heads": 2}), ("merge", {}), ("up_down", {})]
)
def test_every_decoder_trains_through_the_same_loop(
    synthetic_set: SyntheticSet, tmp_path: Path, name: str, settings: dict[str, int]
) -> None:
    # soft_attention is in all the other tests of this file
    stages = (StageConfig(epochs=4, learning_rate=0.01, warmup_steps=2),)
    decoder = DecoderChoice(name, {"units": 32, "embedding_units": 32, **settings})
    config = tiny_config(synthetic_set, tmp_path, stages=stages, decoder=decoder)
    losses = [entry["loss"] for entry in run(config, SoloPeers()).snapshots[-1].progress.history]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_stage_ends_when_patience_does_and_so_does_the_resumed_run(
    synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    # No epoch can raise CIDEr-D by 50, so that patience ends the first stage after its second epoch.
    first = StageConfig(epochs=5, learning_rate=0.01, warmup_steps=2, patience=1, min_improvement=50.0)
    stages = (first, StageConfig(epochs=1, learning_rate=0.001, warmup_steps=0))
    config = tiny_config(synthetic_set, tmp_path, stages=stages)
    whole = run(config, KilledPeers(tmp_path / "snapshot", after=99)).snapshots[-1]
    resumed = run(config, SoloPeers(), Snapshot.load(tmp_path / "snapshot+")).snapshots[-1]
    for last in (whole, resumed):
        assert [(entry["stage"], entry["epoch"]) for entry in last.progress.history] == [(0, 1), (0, 2), (1, 1)]


@pytest.mark.slow
def test_training_lowers_the_loss_and_keeps_the_best_epoch(synthetic_set: SyntheticSet, tmp_path: Path) -> None:
    stages = (StageConfig(epochs=12, learning_rate=0.01, warmup_steps=2),)
    history = run(tiny_config(synthetic_set, tmp_path, stages=stages), SoloPeers()).snapshots[-1].progress
    losses = [entry["loss"] for entry in history.history]
    curves = read_curves(tmp_path / CURVES)
    assert list(curves["train/loss"]) == list(curves["train/learning_rate"]) == list(range(1, 37))  # 3 batches an epoch
    assert curves["dev/CIDEr-D"] == pytest.approx(
        {3 * entry["epoch"]: entry["dev_CIDEr-D"] for entry in history.history}, abs=1e-4
    )
    assert min(curves["train/images_per_s"].values()) > 0
    assert losses[-1] < 0.5 * losses[0]
    assert history.best_score == pytest.approx(max(e["dev_CIDEr-D"] for e in history.history), abs=1e-4)

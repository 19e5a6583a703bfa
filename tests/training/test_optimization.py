import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.training.caption_loss import CaptionBatch, CaptionLoss
from caption_core.training.config import StageConfig
from caption_core.training.optimization import AveragedWeights, Trainer, learning_rate
from caption_core.vocabulary import PAD

ROOT = Path(__file__).resolve().parents[2]


def test_the_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    stage = StageConfig(epochs=1, learning_rate=0.5, warmup_steps=10)
    rates = [learning_rate(stage, step, 100) for step in range(100)]
    assert rates[9] == max(rates) == 0.5
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001


def test_averages_follow_the_weights_and_swap_with_them() -> None:
    variable = tf.Variable([0.0])
    averages = AveragedWeights([variable], decay=0.5)
    variable.assign([1.0])
    averages.update()
    expected = 1 - 2 / 11  # the first decay is (1 + 1) / (10 + 1)
    averages.swap()
    assert variable.numpy()[0] == pytest.approx(expected)
    averages.swap()
    assert variable.numpy()[0] == 1.0


def tiny_trainer(parts: int, *, dropout: float = 0.0) -> Trainer:
    """Over the upper part of an encoder, three locations of 5 channels to 6, and a decoder of 9 tokens."""
    tf_keras.utils.set_random_seed(1)
    upper = tf_keras.Sequential([tf_keras.Input((3, 5)), tf_keras.layers.Dense(6)])
    rates = dict.fromkeys(("feature_dropout", "embedding_dropout", "output_dropout"), dropout)
    sizes = {"units": 8, "embedding_units": 4, "value_units": 8, "attention_units": 4}
    config = decoder_config("soft_attention", {"vocabulary_size": 9, "feature_channels": 6, **sizes, **rates})
    decoder = build_decoder("soft_attention", config)
    return Trainer(tf.distribute.get_strategy(), CaptionLoss(upper, decoder), clip_norm=0.5, parts=parts)


def batch_of(images: int) -> CaptionBatch:
    generator = np.random.default_rng(images)
    tokens = generator.integers(1, 9, (images, 2, 6)).astype(np.int32)
    tokens[0, 1, 3:] = PAD
    weights = generator.normal(size=(images, 2)).astype(np.float32)
    return CaptionBatch(generator.normal(size=(images, 3, 5)).astype(np.float32), tokens, weights, 11.0, 0.1, (3, 256))


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "images"), [(2, 4), (3, 7), (4, 2)])
def test_an_update_in_parts_is_that_of_the_whole_batch(parts: int, images: int) -> None:
    whole, cut = tiny_trainer(1), tiny_trainer(parts)
    for _ in range(3):
        losses = [float(trainer.update(batch_of(images), 1e-3)) for trainer in (whole, cut)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert len(whole.variables) > 10
    for one, other in zip(whole.variables, cut.variables, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, err_msg=one.name)
    for one, other in zip(whole.optimizer.variables, cut.optimizer.variables, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5, err_msg=one.name)


@pytest.mark.slow
def test_parts_are_exchanged_under_a_strategy_of_workers() -> None:
    # In a process of its own: this strategy has to come before all else that TensorFlow does.
    script = """
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
tf.distribute.get_strategy = lambda: strategy
from tests.training.test_optimization import batch_of, tiny_trainer
with strategy.scope():
    trainer = tiny_trainer(2)
print(float(trainer.update(batch_of(4), 1e-3)))
"""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(float(tiny_trainer(1).update(batch_of(4), 1e-3)), abs=1e-5)


@pytest.mark.slow
def test_parts_draw_dropout_masks_of_their_own() -> None:
    batch = batch_of(4)
    assert [part.dropout_seed for part in batch.parts(4)] == [(3, 256), (3, 512), (3, 768), (3, 1024)]
    assert np.array_equal(np.concatenate([part.tokens for part in batch.parts(3)]), batch.tokens)
    whole, cut = (float(tiny_trainer(parts, dropout=0.5).update(batch, 1e-3)) for parts in (1, 2))
    assert whole != pytest.approx(cut, abs=1e-5)

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from caption_core.training.config import StageConfig
from caption_core.training.optimization import AveragedWeights, learning_rate, smoothed_cross_entropy
from caption_core.vocabulary import PAD


def test_the_loss_is_the_smoothed_cross_entropy_of_all_but_padding() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype(np.float32)
    targets = np.random.default_rng(1).integers(0, 7, (2, 3, 4)).astype(np.int32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    goal = np.full((*targets.shape, 7), 0.1 / 7)
    np.put_along_axis(goal, targets[..., None], 0.9 + 0.1 / 7, -1)
    expected = (-(goal * log_p).sum(-1) * (targets != PAD)).sum(-1)
    found = smoothed_cross_entropy(tf.constant(logits), tf.constant(targets), 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


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

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from caption_core.training.caption_loss import smoothed_cross_entropy
from caption_core.vocabulary import PAD
from tests.training.test_optimization import batch_of, tiny_trainer


def test_the_loss_is_the_cross_entropy_with_smoothed_targets() -> None:
    logits = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    targets = np.random.default_rng(1).integers(0, 7, 12).astype(np.int32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    goal = np.full((12, 7), 0.1 / 7)
    np.put_along_axis(goal, targets[:, None], 0.9 + 0.1 / 7, -1)
    found = smoothed_cross_entropy(tf.constant(logits), tf.constant(targets), 0.1)
    np.testing.assert_allclose(found, -(goal * log_p).sum(-1), rtol=1e-5)


@pytest.mark.slow
def test_padding_teaches_nothing_and_each_caption_counts_by_its_weight() -> None:
    batch = batch_of(2)
    batch.weights[:] = [[1.0, 0.0], [0.0, 0.0]]
    loss = float(tiny_trainer(1).update(batch, 0.0))
    alone = replace(
        batch, activations=batch.activations[:1], tokens=batch.tokens[:1, :1], weights=np.ones((1, 1), np.float32)
    )
    longer = np.concatenate((alone.tokens, np.full((1, 1, 3), PAD, np.int32)), axis=-1)
    for tokens in (alone.tokens, longer):
        assert float(tiny_trainer(1).update(replace(alone, tokens=tokens), 0.0)) == pytest.approx(loss, rel=1e-5)
    words = np.sum(alone.tokens[:, :, 1:] != PAD)
    assert loss * alone.divisor / words == pytest.approx(np.log(9), abs=0.5)  # of nine tokens, all about as likely

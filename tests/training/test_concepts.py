import numpy as np
import tensorflow as tf
import tf_keras

from caption_core.training.concepts import ConceptBatch, ConceptHead, ConceptLoss
from caption_core.training.optimization import Trainer

LABELS = np.array([[True, True], [True, False], [False, True], [False, False]])


def test_a_new_head_tells_each_concept_s_frequency() -> None:
    logits = ConceptHead(LABELS[:3], channels=3)(tf.random.normal((5, 2, 3)))
    np.testing.assert_allclose(tf.sigmoid(logits), np.full((5, 2), 2 / 3), atol=1e-6)


def tiny_trainer(parts: int = 1) -> Trainer:
    tf_keras.utils.set_random_seed(1)
    upper = tf_keras.Sequential([tf_keras.Input((3, 5)), tf_keras.layers.Dense(6, name="upper")])
    loss = ConceptLoss(upper, ConceptHead(LABELS, channels=6))
    return Trainer(tf.distribute.get_strategy(), loss, clip_norm=0.5, parts=parts)


def batch_of(images: int) -> ConceptBatch:
    activations = np.random.default_rng(images).normal(size=(images, 3, 5)).astype(np.float32)
    labels = (activations.mean(axis=(1, 2))[:, None] > [0.0, 0.1]).astype(np.float32)
    return ConceptBatch(activations, labels, float(labels.sum()), (3, 256))


def test_the_encoder_learns_to_tell_concepts() -> None:
    trainer = tiny_trainer()
    (kernel,) = (variable for variable in trainer.variables if variable.name == "upper/kernel:0")
    first = kernel.numpy()
    losses = [float(trainer.update(batch_of(16), 0.02)) for _ in range(60)]
    assert losses[-1] < 0.6 * losses[0]
    assert not np.allclose(first, kernel)


def test_parts_are_the_whole_batch_with_dropout_of_their_own() -> None:
    batch = batch_of(7)
    parts = list(batch.parts(3))
    assert [part.dropout_seed for part in parts] == [(3, 256), (3, 512), (3, 768)]
    assert np.array_equal(np.concatenate([part.labels for part in parts]), batch.labels)
    assert np.array_equal(np.concatenate([part.activations for part in parts]), batch.activations)

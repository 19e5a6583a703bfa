"""Detectors of concepts, from which an encoder learns before there is a decoder (see `concept_labels`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.training.optimization import parts_of

_DROPOUT = 0.3
_HEAD_SCALE = 8.0  # of its inputs: new weights have farther to go than the encoder's, at the same learning rate


class ConceptHead(tf_keras.Model):
    """Detects concepts in the mean of an image's features.

    It begins with each concept's frequency whatever the image, so that its first gradients don't harm the encoder.

    Args:
        labels: of the training images, bool [images, concepts].
        channels: of the features.
    """

    def __init__(self, labels: NDArray[np.bool_], channels: int) -> None:
        super().__init__(name="concepts")
        frequency = labels.mean(axis=0)
        bias = tf_keras.initializers.Constant(np.log(frequency / (1.0 - frequency)))
        self.detectors = tf_keras.layers.Dense(
            labels.shape[1], kernel_initializer="zeros", bias_initializer=bias, name="detectors"
        )
        self.detectors.build((None, channels))
        self.built = True

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Features float32 [B, L, channels] to logits [B, concepts]."""
        return self.detectors(_HEAD_SCALE * tf.reduce_mean(features, axis=1))


@dataclass(frozen=True, slots=True)
class ConceptBatch:
    """One worker's share of a batch of labelled images.

    Attributes:
        activations: float32 [B, ...], the frozen encoder part's outputs.
        labels: float32 [B, concepts], 0 or 1.
        divisor: of the whole batch's loss, the same on every worker.
        dropout_seed: int32 [2], decides this worker's dropout masks.
    """

    activations: NDArray[np.float32]
    labels: NDArray[np.float32]
    divisor: float
    dropout_seed: tuple[int, int]

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The arguments of `ConceptLoss`."""
        return (
            tf.constant(self.activations, tf.float32),
            tf.constant(self.labels, tf.float32),
            tf.constant(self.divisor, tf.float32),
            tf.constant(self.dropout_seed, tf.int32),
        )

    def parts(self, count: int) -> Iterator[ConceptBatch]:
        """Cut into at most `count` equal parts, whose losses add up to the batch's; each has dropout of its own."""
        for rows, seed in parts_of(len(self.labels), count, self.dropout_seed):
            yield replace(self, activations=self.activations[rows], labels=self.labels[rows], dropout_seed=seed)


class ConceptLoss:
    """Binary cross-entropy in nats, summed over images and concepts and divided by how many concepts there are in them.

    Args:
        upper: trained part of the encoder.
        head: detects the concepts.
    """

    def __init__(self, upper: tf_keras.Model, head: ConceptHead) -> None:
        self._upper, self._head = upper, head
        self.variables = [*upper.trainable_variables, *head.trainable_variables]
        self.signature = [
            tf.TensorSpec((None, *upper.input_shape[1:]), tf.float32),  # activations
            tf.TensorSpec((None, None), tf.float32),  # labels
            tf.TensorSpec((), tf.float32),  # divisor
            tf.TensorSpec((2,), tf.int32),  # dropout seed
        ]

    def __call__(
        self, activations: tf.Tensor, labels: tf.Tensor, divisor: tf.Tensor, dropout_seed: tf.Tensor
    ) -> tf.Tensor:
        """This worker's part of the loss, a scalar."""
        features = tf.cast(self._upper(activations, training=False), tf.float32)
        features = tf.nn.experimental.stateless_dropout(features, _DROPOUT, seed=dropout_seed)
        logits = self._head(features)
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)) / divisor

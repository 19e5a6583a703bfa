"""An image's words as labels: what an encoder learns from before there is a decoder.

Captions reach an encoder through attention and a recurrent cell, and a few thousand images teach it little that way.
That an image's references speak of a "dog" or of "jumping" is a label that reaches it directly. Such word detectors are
the visual concepts of Fang et al. 2015 (arXiv 1411.4952) and Wu et al. 2016 (arXiv 1506.01144); here the encoder is all
that is kept of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.errors import UsageError
from caption_core.training.batches import TokenTable
from caption_core.training.optimization import DRAWS, parts_of
from caption_core.vocabulary import SPECIAL_TOKENS

_SMALLEST_SHARE = 1 / 300  # of the images whose references hold a word: it could not be learned from fewer
_LARGEST_SHARE = 0.5  # words of more images ("a", "in") say nothing of an image
_DROPOUT = 0.3
_HEAD_SCALE = 8.0  # of its inputs: new weights have farther to go than the encoder's, at the same learning rate


def choose_concepts(table: TokenTable) -> NDArray[np.int64]:
    """Token ids of the words that neither too few nor most images' references hold.

    Args:
        table: the training captions.

    Raises:
        UsageError: there is no such word.
    """
    images = len(table.tokens)
    size = int(table.tokens.max(initial=0)) + 1
    counts = concept_labels(table, np.arange(size)).sum(axis=0)
    chosen = (counts >= max(2, _SMALLEST_SHARE * images)) & (counts <= _LARGEST_SHARE * images)
    chosen[: len(SPECIAL_TOKENS)] = False
    if not chosen.any():
        raise UsageError("no word is in the captions of two images and of no more than half: there are no concepts")
    return np.flatnonzero(chosen)


def concept_labels(table: TokenTable, concepts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which concepts an image's references hold, bool [images, concepts].

    Args:
        table: captions.
        concepts: token ids, int64 [concepts].
    """
    images = len(table.tokens)
    holds = np.zeros((images, max(int(table.tokens.max(initial=0)), int(concepts.max(initial=0))) + 1), np.bool_)
    holds[np.arange(images)[:, None], table.tokens.reshape(images, -1)] = True
    return holds[:, concepts]


def mean_average_precision(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """How well scores put the images of each concept first: the mean, over concepts that occur, of average precision.

    Args:
        labels: bool [images, concepts].
        scores: float32 [images, concepts].
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    found = np.take_along_axis(labels, order, axis=0)
    precision = found.cumsum(axis=0) / np.arange(1, len(found) + 1)[:, None]
    occurrences = found.sum(axis=0)
    average = (precision * found).sum(axis=0)[occurrences > 0] / occurrences[occurrences > 0]
    return float(average.mean())


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
        stream, place = self.dropout_seed
        for part, rows in enumerate(parts_of(len(self.labels), count)):
            seed = (stream, place + part * DRAWS)
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

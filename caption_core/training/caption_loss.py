"""The loss of captions: cross-entropy of every word, given the words before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.decoder import Decoder, without_unspoken
from caption_core.training.optimization import parts_of
from caption_core.vocabulary import PAD


def smoothed_cross_entropy(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Label-smoothed cross-entropy of each word in nats (Szegedy et al. 2016, arXiv 1512.00567).

    Args:
        logits: float32 [N, V].
        targets: int32 [N].
        smoothing: share of the target spread evenly over V.

    Returns:
        float32 [N].
    """
    # The logarithm of the softmax' sum, less (1 - smoothing) times the target's logit and smoothing times their mean:
    # written around the one operation that computes sum and gradient without keeping all log probabilities.
    unsmoothed = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    chosen = tf.gather(logits, targets, batch_dims=1)
    return unsmoothed + smoothing * (chosen - tf.reduce_mean(logits, axis=-1))


@dataclass(frozen=True, slots=True)
class CaptionBatch:
    """One worker's share of a batch of captions.

    The loss is the sum over captions of weight times cross-entropy, over all workers, divided by `divisor`.

    Attributes:
        activations: float32 [B, ...], the frozen encoder part's outputs.
        tokens: int32 [B, K, T], captions, start token first.
        weights: float32 [B, K], what each caption counts; negative for one to be made less likely.
        divisor: of the whole batch's loss, the same on every worker.
        smoothing: label smoothing.
        dropout_seed: int32 [2], decides this worker's dropout masks.
    """

    activations: NDArray[np.float32]
    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    divisor: float
    smoothing: float
    dropout_seed: tuple[int, int]

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The arguments of `CaptionLoss`."""
        return (
            tf.constant(self.activations, tf.float32),
            tf.constant(self.tokens, tf.int32),
            tf.constant(self.weights, tf.float32),
            tf.constant(self.divisor, tf.float32),
            tf.constant(self.smoothing, tf.float32),
            tf.constant(self.dropout_seed, tf.int32),
        )

    def parts(self, count: int) -> Iterator[CaptionBatch]:
        """Cut into at most `count` equal parts, whose losses add up to the batch's; each has dropout of its own."""
        for rows, seed in parts_of(len(self.tokens), count, self.dropout_seed):
            yield replace(
                self,
                activations=self.activations[rows],
                tokens=self.tokens[rows],
                weights=self.weights[rows],
                dropout_seed=seed,
            )


class CaptionLoss:
    """What a decoder, and the upper part of an encoder where there is one, make of a `CaptionBatch`.

    Args:
        upper: trained part of the encoder, or None.
        decoder: the decoder.
        self_critical: captions are the model's own draws. They were drawn without dropout from the tokens that a
            caption may hold, so that is the distribution that the update is about: left in, the unknown token would
            soak up what each draw that is made less likely gives away, unseen, since it is never drawn.
    """

    def __init__(self, upper: tf_keras.Model | None, decoder: Decoder, *, self_critical: bool = False) -> None:
        self._upper, self._decoder, self._self_critical = upper, decoder, self_critical
        self.variables = list(decoder.trainable_variables) + (list(upper.trainable_variables) if upper else [])
        shape = upper.input_shape[1:] if upper else (None, decoder.config.feature_channels)
        scalar = tf.TensorSpec((), tf.float32)
        self.signature = [
            tf.TensorSpec((None, *shape), tf.float32),  # activations
            tf.TensorSpec((None, None, None), tf.int32),  # tokens
            tf.TensorSpec((None, None), tf.float32),  # weights
            scalar,  # divisor
            scalar,  # smoothing
            tf.TensorSpec((2,), tf.int32),  # dropout seed
        ]

    def __call__(
        self,
        activations: tf.Tensor,
        tokens: tf.Tensor,
        weights: tf.Tensor,
        divisor: tf.Tensor,
        smoothing: tf.Tensor,
        dropout_seed: tf.Tensor,
    ) -> tf.Tensor:
        """This worker's part of the loss, a scalar."""
        places, logits = self.word_logits(activations, tokens, dropout_seed)
        losses = smoothed_cross_entropy(logits, tf.gather_nd(tokens[:, :, 1:], places), smoothing)
        return tf.reduce_sum(tf.gather_nd(weights, places[:, :2]) * losses) / divisor

    def word_logits(
        self, activations: tf.Tensor, tokens: tf.Tensor, dropout_seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the model makes of every word that isn't padding.

        Returns:
            The N words' places in `tokens[:, :, 1:]`, int64 [N, 3], and their logits, float32 [N, V].
        """
        # Batch norm stays in inference mode: statistics of a few images would harm the pretrained ones.
        features = tf.cast(self._upper(activations, training=False), tf.float32) if self._upper else activations
        hidden = self._decoder.unroll(features, tokens[:, :, :-1], None if self._self_critical else dropout_seed)
        places = tf.where(tokens[:, :, 1:] != PAD)
        logits = self._decoder.logits(tf.gather_nd(hidden, places))
        return places, without_unspoken(logits) if self._self_critical else logits

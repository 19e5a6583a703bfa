"""Learning from a teacher's words: its distribution over the next one, and whole captions of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.decoder import Decoder
from caption_core.training.batches import TokenTable, tokenize
from caption_core.training.caption_loss import CaptionBatch, CaptionLoss, smoothed_cross_entropy
from caption_core.training.config import DataConfig
from caption_core.training.data import TrainingData
from caption_core.training.objectives import ImageBatch, References
from caption_core.training.optimization import Loss
from caption_core.training.selection import DevSet
from compression.settings.training import Training
from compression.teacher import Teacher


def taught(
    data: TrainingData, teacher: Teacher, captions: Literal["references", "teacher", "both"], config: DataConfig
) -> TokenTable:
    """The captions to learn from: the references, what the teacher's beam search finds, or both.

    The teacher's are sequence-level distillation (Kim and Rush 2016, arXiv 1606.07947), of all hypotheses that the
    search keeps in place of the best alone.
    """
    if captions == "references":
        return data.tokens
    found = teacher.captions(config.max_tokens)
    if captions == "both":
        found = tuple(own + theirs for own, theirs in zip(data.train.captions, found, strict=True))
    return tokenize(replace(data.train, captions=found), data.vocabulary, max_tokens=config.max_tokens)


def divergence(student: tf.Tensor, teacher: tf.Tensor, temperature: float) -> tf.Tensor:
    """Kullback-Leibler divergence of the student's distribution from the teacher's, both softened, in nats.

    Args:
        student: logits float32 [N, V].
        teacher: logits float32 [N, V].
        temperature: divides both.

    Returns:
        float32 [N].
    """
    # As cross-entropies, which are one operation each: all log probabilities of a batch are large.
    target = tf.nn.softmax(teacher / temperature)
    cross_entropy = tf.nn.softmax_cross_entropy_with_logits(target, student / temperature)
    return cross_entropy - tf.nn.softmax_cross_entropy_with_logits(target, teacher / temperature)


@dataclass(frozen=True, slots=True)
class DistilledBatch:
    """One worker's share of a batch of captions, and what the teacher sees.

    Attributes:
        captions: as without a teacher.
        features: float32 [B, L, channels], the teacher's.
    """

    captions: CaptionBatch
    features: NDArray[np.float32]

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The arguments of `DistilledLoss`."""
        return (tf.constant(self.features, tf.float32), *self.captions.tensors())

    def parts(self, count: int) -> Iterator[DistilledBatch]:
        """Cut into at most `count` equal parts, whose losses add up to the batch's."""
        begin = 0
        for part in self.captions.parts(count):
            end = begin + len(part.tokens)
            yield DistilledBatch(part, self.features[begin:end])
            begin = end


class DistilledLoss:
    """Cross-entropy with the captions' words, in part replaced by the divergence from the teacher's distribution.

    Hinton et al. 2015 (arXiv 1503.02531): the divergence is multiplied by the temperature's square, so that its
    gradient is as large at any temperature.

    Args:
        captions: the loss without a teacher.
        teacher: gives logits.
        training: its `soft_targets` is the share of the divergence, at its `temperature`.
    """

    def __init__(self, captions: CaptionLoss, teacher: Teacher, training: Training) -> None:
        self._captions, self._teacher = captions, teacher
        self._share, self._temperature = training.soft_targets, training.temperature
        self.variables = captions.variables
        self.signature = [teacher.features_spec, *captions.signature]

    def __call__(
        self,
        teacher_features: tf.Tensor,
        activations: tf.Tensor,
        tokens: tf.Tensor,
        weights: tf.Tensor,
        divisor: tf.Tensor,
        smoothing: tf.Tensor,
        dropout_seed: tf.Tensor,
    ) -> tf.Tensor:
        """This worker's part of the loss, a scalar; arguments after the first as `CaptionLoss` has them."""
        places, logits = self._captions.word_logits(activations, tokens, dropout_seed)
        hard = smoothed_cross_entropy(logits, tf.gather_nd(tokens[:, :, 1:], places), smoothing)
        theirs = self._teacher.word_logits(teacher_features, tokens, places)
        soft = self._temperature**2 * divergence(logits, theirs, self._temperature)
        losses = (1.0 - self._share) * hard + self._share * soft
        return tf.reduce_sum(tf.gather_nd(weights, places[:, :2]) * losses) / divisor


class DistilledCaptions:
    """Captions of a table, with the teacher's distribution over each of their words (see `Objective`).

    Args:
        upper: trained part of the encoder, or None.
        decoder: the decoder.
        dev: the dev split.
        table: the captions; see `taught`.
        teacher: the teacher.
        training: says how much its distribution counts.
        smoothing: label smoothing of the captions' words.
    """

    head: tf_keras.Model | None = None

    def __init__(
        self,
        upper: tf_keras.Model | None,
        decoder: Decoder,
        dev: DevSet,
        table: TokenTable,
        teacher: Teacher,
        training: Training,
        smoothing: float,
    ) -> None:
        self._references, self._teacher = References(upper, decoder, dev, table, smoothing), teacher
        self.loss: Loss = DistilledLoss(CaptionLoss(upper, decoder), teacher, training)

    def batch(self, images: ImageBatch) -> DistilledBatch:
        """See `Objective`."""
        features = self._teacher.features(images.images[images.share], images.views[images.share])
        return DistilledBatch(self._references.batch(images), features)

    def dev_scores(self) -> dict[str, float]:
        """See `Objective`: scores of greedy captions."""
        return self._references.dev_scores()

    def epoch_figures(self) -> dict[str, float]:
        """See `Objective`."""
        return {}

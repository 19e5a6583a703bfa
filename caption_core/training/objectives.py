"""What a stage learns from, and what its epochs are chosen by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.captioning import DecoderFunctions
from caption_core.models.decoder import Decoder
from caption_core.training.batches import TokenTable
from caption_core.training.caption_loss import CaptionBatch, CaptionLoss
from caption_core.training.concept_labels import mean_average_precision
from caption_core.training.concepts import ConceptBatch, ConceptHead, ConceptLoss
from caption_core.training.features import FeatureCache
from caption_core.training.optimization import Batch, Loss
from caption_core.training.selection import DevSet, dev_features
from caption_core.training.self_critical import CiderReward, Sampler, advantages, with_start
from caption_core.vocabulary import PAD


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """A batch of images, and what one worker sees of it.

    Attributes:
        images: int64 [batch], all workers' images, by number.
        views: int64 [batch], the view of each (see `view_of`).
        share: which of them are this worker's.
        activations: float32 [share, ...] of this worker's images.
        stream: decides what is drawn.
    """

    images: NDArray[np.int64]
    views: NDArray[np.int64]
    share: slice
    activations: NDArray[np.float32]
    stream: tuple[int, int]


class Objective(Protocol):
    """What a stage learns from.

    Attributes:
        loss: what is made smaller.
        head: a model that trains along and is dropped after the stage, or None.
    """

    loss: Loss
    head: tf_keras.Model | None

    def batch(self, images: ImageBatch) -> Batch:
        """What one worker learns from its share of a batch."""

    def dev_scores(self) -> dict[str, float]:
        """Scores of the present weights on the dev split; the stage's metric is among them."""

    def epoch_figures(self) -> dict[str, float]:
        """What the epoch's batches told beside their losses, on this worker; asked for once, at its end."""


class _Captioning:
    """What both objectives that train a decoder share: its loss, and the captions that it gives the dev split.

    Args:
        upper: trained part of the encoder, or None.
        decoder: the decoder.
        dev: the dev split.
    """

    head: tf_keras.Model | None = None

    def __init__(self, upper: tf_keras.Model | None, decoder: Decoder, dev: DevSet, *, self_critical: bool) -> None:
        self.loss: Loss = CaptionLoss(upper, decoder, self_critical=self_critical)
        self._upper, self._dev, self._decode = upper, dev, DecoderFunctions(decoder)

    def dev_scores(self) -> dict[str, float]:
        """See `Objective`: scores of greedy captions."""
        return self._dev.scores(self._upper, self._decode)

    def epoch_figures(self) -> dict[str, float]:
        """See `Objective`."""
        return {}


class References(_Captioning):
    """The references, every one counting the same; the loss is a mean over all their words.

    Args:
        upper, decoder, dev: see `_Captioning`.
        table: the training captions.
        smoothing: label smoothing.
    """

    def __init__(
        self, upper: tf_keras.Model | None, decoder: Decoder, dev: DevSet, table: TokenTable, smoothing: float
    ) -> None:
        super().__init__(upper, decoder, dev, self_critical=False)
        self._table, self._smoothing = table, smoothing

    def batch(self, images: ImageBatch) -> CaptionBatch:
        """See `Objective`."""
        numbers = images.images
        tokens = self._table.tokens[numbers][:, :, : self._table.lengths[numbers].max()]
        words = float((tokens[:, :, 1:] != PAD).sum())
        weights = np.ones(tokens[images.share].shape[:2], np.float32)
        return CaptionBatch(images.activations, tokens[images.share], weights, words, self._smoothing, images.stream)


class OwnCaptions(_Captioning):
    """Captions that the model draws, counting by how much better or worse than its other ones they would score.

    Args:
        upper, decoder, dev: see `_Captioning`.
        reward: scores captions.
        max_tokens: words of the longest caption.
    """

    def __init__(
        self, upper: tf_keras.Model | None, decoder: Decoder, dev: DevSet, reward: CiderReward, max_tokens: int
    ) -> None:
        super().__init__(upper, decoder, dev, self_critical=True)
        self._sampler, self._reward = Sampler(upper, decoder, max_tokens), reward
        self._rewards: list[float] = []  # mean over each image's captions, of this epoch

    def batch(self, images: ImageBatch) -> CaptionBatch:
        """See `Objective`."""
        samples = self._sampler(images.activations, images.stream)
        rewards = self._reward(images.images[images.share], samples)
        self._rewards.extend(rewards.mean(axis=1).tolist())
        captions = float(len(images.images) * samples.shape[1])
        return CaptionBatch(images.activations, with_start(samples), advantages(rewards), captions, 0.0, images.stream)

    def epoch_figures(self) -> dict[str, float]:
        """See `Objective`: the mean CIDEr-D of the captions that were drawn."""
        rewards, self._rewards = self._rewards, []
        return {"reward": round(float(np.mean(rewards)), 4)}


class Concepts:
    """The words of an image's references, as labels of the image.

    Args:
        upper: trained part of the encoder.
        labels: of the training images, bool [images, concepts].
        dev: activations of the dev images.
        dev_labels: bool [dev images, concepts].
    """

    def __init__(
        self, upper: tf_keras.Model, labels: NDArray[np.bool_], dev: FeatureCache, dev_labels: NDArray[np.bool_]
    ) -> None:
        head = ConceptHead(labels, upper.output_shape[-1])
        self.head: tf_keras.Model | None = head
        self.loss: Loss = ConceptLoss(upper, head)
        self._upper, self._detect = upper, head
        self._labels, self._dev, self._dev_labels = labels, dev, dev_labels

    def batch(self, images: ImageBatch) -> ConceptBatch:
        """See `Objective`."""
        labels = self._labels[images.images].astype(np.float32)
        return ConceptBatch(images.activations, labels[images.share], max(1.0, float(labels.sum())), images.stream)

    def dev_scores(self) -> dict[str, float]:
        """See `Objective`: how well the dev images' concepts are told."""
        features = dev_features(self._upper, self._dev)
        logits = np.concatenate([self._detect(batch).numpy() for batch in features])
        labels = self._dev_labels.astype(np.float32)
        loss = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)) / labels.sum()
        return {"concept_mAP": mean_average_precision(self._dev_labels, logits), "concept_loss": float(loss)}

    def epoch_figures(self) -> dict[str, float]:
        """See `Objective`."""
        return {}

"""Self-critical sequence training: captions are rewarded by the CIDEr-D that they would score.

Rennie et al. 2017 (arXiv 1612.00563), with the mean of an image's other samples as the baseline in place of a greedy
caption (Luo 2020, arXiv 2003.09971): no second decoding, and a lower variance.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.metrics.blocks import Block, Sentences
from caption_core.metrics.cider import cider
from caption_core.metrics.document_frequency import count_documents
from caption_core.metrics.ngrams import MAX_ORDER, match_ngrams
from caption_core.models.decoder import Decoder
from caption_core.models.tracing import as_graph
from caption_core.training.batches import TokenTable
from caption_core.vocabulary import PAD, START

SAMPLES = 5  # captions drawn for an image: as many as most data sets have references


class CiderReward:
    """CIDEr-D of captions against an image's references, both as token ids.

    The end token counts as a word, so that a caption that breaks off scores less. Document frequencies are those of
    the training references.

    Args:
        table: the training captions.
        num_tokens: size of the vocabulary.
    """

    def __init__(self, table: TokenTable, num_tokens: int) -> None:
        self._references = table.tokens[:, :, 1:]  # the start token says nothing
        # Token ids as 64-bit keys: spread out, as the n-gram hash expects of words.
        self._keys = np.random.default_rng(0).integers(0, 2**64, num_tokens, np.uint64)
        owner = np.arange(len(self._references))[:, None].repeat(self._references.shape[1], axis=1)
        self._frequency = count_documents(self._sentences(self._references, owner), len(self._references))

    def __call__(self, images: NDArray[np.int64], samples: NDArray[np.int32]) -> NDArray[np.float32]:
        """CIDEr-D, float32 [B, K], of samples int32 [B, K, T] (end token, then padding) for training images [B]."""
        batch, drawn = samples.shape[:2]
        if batch == 0:  # a worker's share of a short batch
            return np.zeros((0, drawn), np.float32)
        references = np.repeat(self._references[images], drawn, axis=0)  # [B K, R, T]
        rows = np.arange(batch * drawn)
        owner = rows[:, None].repeat(references.shape[1], axis=1)
        block = Block(
            self._sentences(samples.reshape(batch * drawn, 1, samples.shape[2]), rows[:, None]),
            self._sentences(references, owner),
            np.any(references != PAD, axis=-1).sum(axis=-1),
        )
        ngrams = [match_ngrams(block.candidates, block.references, order) for order in range(1, MAX_ORDER + 1)]
        return cider(block, ngrams, self._frequency)[0].reshape(batch, drawn).astype(np.float32)

    def _sentences(self, tokens: NDArray[np.int32], owner: NDArray[np.int64]) -> Sentences:
        """Captions int32 [images, captions, T] without padding, and without rows that are all padding."""
        kept = np.any(tokens != PAD, axis=-1)
        rows = tokens[kept]
        lengths = (rows != PAD).sum(axis=-1)
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return Sentences(self._keys[rows[rows != PAD]], starts, owner[kept])


class Sampler:
    """Draws captions from a model in training.

    Args:
        upper: trained part of the encoder, or None.
        decoder: the decoder; its present weights are used.
        max_tokens: words of the longest caption.
    """

    def __init__(self, upper: tf_keras.Model | None, decoder: Decoder, max_tokens: int) -> None:
        def sample(activations: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            features = tf.cast(upper(activations, training=False), tf.float32) if upper else activations
            return decoder.sample(features, SAMPLES, max_tokens, seed)

        shape = upper.input_shape[1:] if upper else (None, decoder.config.feature_channels)
        specs = [tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((2,), tf.int32)]
        self._sample = as_graph(sample, specs)

    def __call__(self, activations: NDArray[np.float32], seed: tuple[int, int]) -> NDArray[np.int32]:
        """Samples int32 [B, SAMPLES, max_tokens] for activations float32 [B, ...]; see `sample`."""
        samples: NDArray[np.int32] = self._sample(activations, tf.constant(seed, tf.int32)).numpy()
        return samples


def advantages(rewards: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reward less the mean reward of the image's other samples: float32 [B, K]."""
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
    return rewards - others


def with_start(samples: NDArray[np.int32]) -> NDArray[np.int32]:
    """Samples int32 [B, K, T] with a start token before them, cut to the longest."""
    longest = int((samples != PAD).sum(axis=-1).max(initial=1))
    start = np.full((*samples.shape[:2], 1), START, np.int32)
    return np.concatenate((start, samples[:, :, :longest]), axis=-1)

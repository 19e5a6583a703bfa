"""What an update learns from: the references' captions, or the model's own and what they would score."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from caption_core.training.batches import TokenTable
from caption_core.training.optimization import CaptionBatch
from caption_core.training.self_critical import CiderReward, Sampler, advantages, with_start
from caption_core.vocabulary import PAD


class CaptionChoice(Protocol):
    """Chooses the captions of a batch, and what each counts."""

    def __call__(
        self, images: NDArray[np.int64], share: slice, activations: NDArray[np.float32], stream: tuple[int, int]
    ) -> CaptionBatch:
        """One worker's share of a batch.

        Args:
            images: int64 [batch], all workers' images.
            share: which of them are this worker's.
            activations: float32 [share, ...] of this worker's images.
            stream: decides what is drawn.
        """


class References:
    """The references, every one counting the same; the loss is a mean over all their words.

    Args:
        table: the training captions.
        smoothing: label smoothing.
    """

    def __init__(self, table: TokenTable, smoothing: float) -> None:
        self._table, self._smoothing = table, smoothing

    def __call__(
        self, images: NDArray[np.int64], share: slice, activations: NDArray[np.float32], stream: tuple[int, int]
    ) -> CaptionBatch:
        """See `CaptionChoice`."""
        tokens = self._table.tokens[images][:, :, : self._table.lengths[images].max()]
        words = float((tokens[:, :, 1:] != PAD).sum())
        weights = np.ones(tokens[share].shape[:2], np.float32)
        return CaptionBatch(activations, tokens[share], weights, words, self._smoothing, stream)


class OwnCaptions:
    """Captions that the model draws, counting by how much better or worse than its other ones they would score."""

    def __init__(self, sampler: Sampler, reward: CiderReward) -> None:
        self._sampler, self._reward = sampler, reward

    def __call__(
        self, images: NDArray[np.int64], share: slice, activations: NDArray[np.float32], stream: tuple[int, int]
    ) -> CaptionBatch:
        """See `CaptionChoice`."""
        samples = self._sampler(activations, stream)
        weights = advantages(self._reward(images[share], samples))
        captions = float(len(images) * samples.shape[1])
        return CaptionBatch(activations, with_start(samples), weights, captions, 0.0, stream)

"""Sufficient statistics of the n-gram metrics, one row an image: corpus scores are sums over these rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from caption_core.metrics.bleu import bleu_counts
from caption_core.metrics.blocks import Block, Float64, Int64
from caption_core.metrics.cider import DocumentFrequency, cider
from caption_core.metrics.ngrams import MAX_ORDER, MatchedNgrams, match_ngrams
from caption_core.metrics.rouge import rouge_l


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """What each image contributes to the corpus scores.

    Attributes:
        correct: int64 [images, 4], clipped n-gram matches of each order.
        length: int64 [images], words of the candidate.
        reference_length: int64 [images], the closest reference length.
        rouge_l, cider_d, cider: float64 [images], scores of each image.
    """

    correct: Int64
    length: Int64
    reference_length: Int64
    rouge_l: Float64
    cider_d: Float64
    cider: Float64

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.length)

    @classmethod
    def concatenate(cls, parts: Sequence[ImageStatistics]) -> ImageStatistics:
        """The rows of `parts`, one after the other."""
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        )

    def take(self, images: Int64) -> ImageStatistics:
        """The rows of `images`, int64 indices."""
        return ImageStatistics(**{field.name: getattr(self, field.name)[images] for field in fields(self)})


def count_all_orders(block: Block) -> list[MatchedNgrams]:
    """The block's n-grams of order one to four."""
    return [match_ngrams(block.candidates, block.references, order) for order in range(1, MAX_ORDER + 1)]


def measure_block(block: Block, frequency: DocumentFrequency) -> ImageStatistics:
    """Statistics of a block's images. They don't depend on how a corpus is cut into blocks, to the last bit."""
    ngrams = count_all_orders(block)
    counts = bleu_counts(block, ngrams)
    cider_d, plain_cider = cider(block, ngrams, frequency)
    return ImageStatistics(counts.correct, counts.length, counts.reference_length, rouge_l(block), cider_d, plain_cider)

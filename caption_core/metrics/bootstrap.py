"""Bootstrap intervals over images, and a paired test of two captioners on the same images.

The bootstrap (Efron 1979) draws as many images as there are, with replacement, many times, and computes the corpus
scores of each draw. Sufficient statistics add up over images, so a draw is a vector of weights and all draws together
are one matrix product; images are taken block by block, so that memory does not grow with their number. Document
frequencies of CIDEr stay those of the whole corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caption_core.errors import UsageError
from caption_core.metrics.blocks import Float64

_BLOCK_IMAGES = 2_048


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """How uncertainty is estimated.

    Attributes:
        resamples: draws of the images; 0 gives no intervals.
        confidence: share of the draws between an interval's ends.
        seed: of the draws; the same seed and images give the same intervals.
    """

    resamples: int = 1_000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= self.resamples <= 100_000:
            raise UsageError(f"resamples must lie between 0 and 100,000, not {self.resamples}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence must lie between 0 and 1, not {self.confidence}")


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One captioner's score minus another's on the same images.

    Attributes:
        value: the difference of the corpus scores.
        interval: of that difference, over draws of images in which both are scored alike.
        p_value: two-sided: twice the share of draws whose difference lies on the other side of zero, or on it; never
            below 2 / (resamples + 1).
    """

    value: float
    interval: Interval
    p_value: float


class ResampledSums:
    """Sums of statistics over each of many bootstrap draws.

    Args:
        num_images: images that will be added in all; a draw has as many.
        settings: how many draws, from which seed.
    """

    def __init__(self, num_images: int, settings: BootstrapSettings) -> None:
        """No image added yet."""
        self._random = np.random.default_rng(settings.seed)
        self._draws_left = np.full(settings.resamples, num_images, np.int64)
        self._images_left = num_images
        self._sums: dict[str, Float64] = {}

    def add(self, columns: Mapping[str, Float64]) -> None:
        """Add statistics of further images, float64 [images] a column; always the same columns."""
        names = list(columns)
        values = np.stack([columns[name] for name in names], axis=1)
        for start in range(0, len(values), _BLOCK_IMAGES):
            block = values[start : start + _BLOCK_IMAGES]
            sums = self._weights(len(block)) @ block
            for index, name in enumerate(names):
                self._sums[name] = self._sums.get(name, 0.0) + sums[:, index]

    def _weights(self, num_images: int) -> Float64:
        """How often each image of a block is in each draw: float64 [resamples, images].

        The draws that fall into this block are binomial given those still to come, so that over all blocks every draw
        is a uniform sample with replacement.
        """
        share = num_images / self._images_left
        here = self._random.binomial(self._draws_left, min(share, 1.0))
        self._draws_left = self._draws_left - here
        self._images_left -= num_images
        chosen = self._random.integers(0, num_images, size=int(here.sum()))
        resample = np.repeat(np.arange(len(here), dtype=np.int64), here)
        counts = np.bincount(resample * num_images + chosen, minlength=len(here) * num_images)
        return counts.reshape(len(here), num_images).astype(np.float64)

    def sums(self) -> dict[str, Float64]:
        """Sums of each column, float64 [resamples]; all images must have been added."""
        if self._images_left:
            raise ValueError(f"{self._images_left} images have not been added")
        return self._sums


def interval(draws: Float64, confidence: float) -> Interval:
    """The percentile interval of float64 [resamples] scores."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))


def difference(value: float, draws: Float64, confidence: float) -> Difference:
    """Judge a difference of scores by its bootstrap draws, float64 [resamples]."""
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p_value = min(1.0, 2 * (beyond + 1) / (len(draws) + 1))
    return Difference(value, interval(draws, confidence), p_value)

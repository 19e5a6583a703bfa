"""Corpus scores from sums over images: the one place where sufficient statistics become scores."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from caption_core.metrics.bleu import coco_bleu, guesses, weighted_bleu
from caption_core.metrics.blocks import Float64
from caption_core.metrics.image_statistics import ImageStatistics
from caption_core.metrics.ngrams import MAX_ORDER

ORDERS = range(1, MAX_ORDER + 1)
MEANS = {"ROUGE_L": "rouge_l", "CIDEr-D": "cider_d", "CIDEr": "cider"}
"""Metrics that are means over images, and their columns."""

Columns = Mapping[str, Float64]
"""Statistics by name, float64 [images] each; all of them add up over images."""


def statistics_columns(statistics: ImageStatistics) -> dict[str, Float64]:
    """What BLEU, ROUGE-L, CIDEr-D and CIDEr are computed from."""
    guessed = guesses(statistics.length)
    counts = {f"correct_{order}": statistics.correct[:, order - 1] for order in ORDERS}
    counts |= {f"guessed_{order}": guessed[:, order - 1] for order in ORDERS}
    counts |= {f"short_{order}": (statistics.length < order).astype(np.int64) for order in ORDERS}
    counts |= {"length": statistics.length, "reference_length": statistics.reference_length}
    columns = {name: column.astype(np.float64) for name, column in counts.items()}
    return columns | {"rouge_l": statistics.rouge_l, "cider_d": statistics.cider_d, "cider": statistics.cider}


def scores_from_sums(sums: Mapping[str, Float64], num_images: float) -> dict[str, Float64]:
    """Scores of a corpus, or of many resampled ones at once.

    Args:
        sums: sums of the columns, float64 [...] each.
        num_images: images that were summed.

    Returns:
        float64 [...] for each of `Bleu_1` ... `Bleu_4`, `ROUGE_L`, `CIDEr-D`, `CIDEr`.
    """
    bleu = coco_bleu(
        np.stack([sums[f"correct_{order}"] for order in ORDERS], axis=-1),
        np.stack([sums[f"guessed_{order}"] for order in ORDERS], axis=-1),
        sums["length"],
        sums["reference_length"],
    )
    scores = {f"Bleu_{order}": bleu[..., order - 1] for order in ORDERS}
    return scores | {metric: sums[column] / num_images for metric, column in MEANS.items()}


def nltk_bleu(sums: Mapping[str, float]) -> dict[str, float]:
    """BLEU-1 to 4 with uniform weights, equal to NLTK's `corpus_bleu` on the same tokens.

    NLTK takes a candidate that is too short for an n-gram to have one, of which none matches; coco-caption takes it to
    have none. So the two differ in the presence of captions of fewer than four words, and only then.
    """
    correct = [int(sums[f"correct_{order}"]) for order in ORDERS]
    guessed = [int(sums[f"guessed_{order}"] + sums[f"short_{order}"]) for order in ORDERS]
    lengths = int(sums["length"]), int(sums["reference_length"])
    return {f"Bleu_{order}": weighted_bleu(correct, guessed, *lengths, [1 / order] * order) for order in ORDERS}


class ExactSum:
    """A running sum of floats without rounding error, so that it is the same in whatever order and grouping they come.

    Holds the sum as a few floats that don't overlap (Shewchuk 1997); `math.fsum` finds each of them.
    """

    def __init__(self) -> None:
        """An empty sum."""
        self._parts: list[float] = []

    def add(self, values: Float64) -> None:
        """Add float64 [n]."""
        pending = [*self._parts, *values.tolist()]
        self._parts = []
        while part := math.fsum(pending):
            self._parts.append(part)
            pending.append(-part)

    def value(self) -> float:
        """The sum, correctly rounded."""
        return math.fsum(self._parts)

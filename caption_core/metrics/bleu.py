"""Corpus BLEU (Papineni et al. 2002) from counts that add up over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caption_core.metrics.blocks import Block, Float64, Int64
from caption_core.metrics.ngrams import MAX_ORDER, MatchedNgrams

_SMALL = 1e-9  # coco-caption adds these to keep its divisions defined
_TINY = 1e-15


@dataclass(frozen=True, slots=True)
class BleuCounts:
    """BLEU's sufficient statistics.

    Attributes:
        correct: int64 [images, 4], clipped n-gram matches of each order.
        length: int64 [images], words of the candidate.
        reference_length: int64 [images], the reference length closest to it, the shorter one of two equally close.
    """

    correct: Int64
    length: Int64
    reference_length: Int64


def bleu_counts(block: Block, ngrams: Sequence[MatchedNgrams]) -> BleuCounts:
    """Count a block; `ngrams` are its n-grams of order one to four."""
    correct = np.stack([_clipped_matches(matches, block.num_images) for matches in ngrams], axis=1)
    return BleuCounts(correct, block.candidates.lengths, _closest_lengths(block))


def _clipped_matches(ngrams: MatchedNgrams, num_images: int) -> Int64:
    """int64 [images]: each n-gram of the candidate counts as often as in the reference that has it most."""
    most = np.zeros(len(ngrams.candidates.count), np.int64)
    np.maximum.at(most, ngrams.partner, ngrams.references.count[ngrams.matched])
    clipped = np.minimum(ngrams.candidates.count, most)
    matches = ngrams.candidates.sum_by_sentence(clipped.astype(np.float64), num_images)
    return matches.astype(np.int64)


def _closest_lengths(block: Block) -> Int64:
    if not block.num_images:
        return np.zeros(0, np.int64)
    lengths = block.references.lengths
    distance = np.abs(lengths - block.candidates.lengths[block.references.owner])
    radix = int(lengths.max()) + 1
    first = np.cumsum(block.references_per_image) - block.references_per_image
    closest: Int64 = np.minimum.reduceat(distance * radix + lengths, first) % radix
    return closest


def guesses(length: Int64) -> Int64:
    """int64 [images, 4]: the n-grams of each order in candidates of these lengths."""
    counts: Int64 = np.maximum(length[:, None] - np.arange(MAX_ORDER), 0)
    return counts


def coco_bleu(correct: Float64, guessed: Float64, length: Float64, reference_length: Float64) -> Float64:
    """BLEU-1..4 as coco-caption computes it, with its guards against division by zero.

    Arguments are sums over the images of a corpus, or of many resampled corpora.

    Args:
        correct: float64 [..., 4], clipped matches.
        guessed: float64 [..., 4], n-grams of the candidates.
        length: float64 [...], words of the candidates.
        reference_length: float64 [...], closest reference lengths.

    Returns:
        float64 [..., 4].
    """
    orders = np.arange(1, MAX_ORDER + 1)
    precision = (correct + _TINY) / (guessed + _SMALL)
    bleu = np.cumprod(precision, axis=-1) ** (1.0 / orders)
    ratio = (length + _TINY) / (reference_length + _SMALL)
    penalty = np.where(ratio < 1, np.exp(np.minimum(1 - 1 / ratio, 0.0)), 1.0)
    scores: Float64 = bleu * penalty[..., None]
    return scores


def weighted_bleu(
    correct: Sequence[int], guessed: Sequence[int], length: int, reference_length: int, weights: Sequence[float]
) -> float:
    """Corpus BLEU with chosen weights, as NLTK's `corpus_bleu` computes it without smoothing.

    Two details differ from coco-caption's: NLTK counts at least one n-gram of every order for each candidate, however
    short (`guessed` must then hold sums of `max(1, n-grams)`), and a score is exactly zero where no word matches.

    Args:
        correct: clipped matches of each order, summed over the corpus.
        guessed: n-grams of each order, summed as said above.
        length: words of all candidates.
        reference_length: sum of the closest reference lengths.
        weights: exponent of each order's precision.
    """
    if correct[0] == 0:
        return 0.0
    smallest = float(np.finfo(np.float64).tiny)
    logs = [
        weight * math.log(matches / total if matches else smallest)
        for weight, matches, total in zip(weights, correct, guessed, strict=False)
    ]
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return penalty * math.exp(math.fsum(logs))

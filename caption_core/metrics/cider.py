"""CIDEr and CIDEr-D (Vedantam, Zitnick and Parikh 2015): tf-idf weighted n-gram consensus with the references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from caption_core.metrics.blocks import Block, Float64, Int64, UInt64
from caption_core.metrics.ngrams import MAX_ORDER, MatchedNgrams, NgramCounts

_SIGMA = 6.0  # width of CIDEr-D's length penalty, in words
_SCALE = 10.0


class DocumentFrequency(Protocol):
    """In how many images' references an n-gram stands."""

    @property
    def num_images(self) -> int:
        """Images that were counted."""

    def lookup(self, keys: UInt64) -> Int64:
        """int64 [keys]: the images whose references hold each n-gram; 0 or 1 may be given for one another."""


def cider(block: Block, ngrams: Sequence[MatchedNgrams], frequency: DocumentFrequency) -> tuple[Float64, Float64]:
    """CIDEr-D and CIDEr of each image, float64 [images] each; `ngrams` are the block's of order one to four.

    CIDEr-D is the metric that coco-caption calls "CIDEr": matches are clipped, and a Gaussian penalty weighs the
    difference in length. Plain CIDEr has neither. Document frequencies come from the references that are scored.
    """
    num_references = len(block.references.owner)
    clipped, plain = np.zeros(num_references), np.zeros(num_references)
    for matches in ngrams:
        clipped_order, plain_order = _similarities(block, matches, frequency)
        clipped += clipped_order
        plain += plain_order
    clipped *= _length_penalty(block)
    return _average(block, clipped), _average(block, plain)


def _similarities(block: Block, ngrams: MatchedNgrams, frequency: DocumentFrequency) -> tuple[Float64, Float64]:
    """Cosine similarity of each reference with its candidate, clipped and plain: float64 [references] each."""
    num_references = len(block.references.owner)
    idf = _inverse_frequency(frequency.lookup(ngrams.keys), frequency.num_images)
    candidate_norm = _norms(ngrams.candidates, idf, block.num_images)[block.references.owner]
    norm = candidate_norm * _norms(ngrams.references, idf, num_references)
    reference_weight = (ngrams.references.count * idf[ngrams.references.ngram])[ngrams.matched]
    candidate_weight = (ngrams.candidates.count * idf[ngrams.candidates.ngram])[ngrams.partner]
    sentence = ngrams.references.sentence[ngrams.matched]
    clipped = np.bincount(sentence, np.minimum(candidate_weight, reference_weight) * reference_weight, num_references)
    plain = np.bincount(sentence, candidate_weight * reference_weight, num_references)
    divisor = np.where(norm > 0, norm, 1.0)
    return clipped / divisor, plain / divisor


def _inverse_frequency(frequency: Int64, num_images: int) -> Float64:
    """log(images / document frequency), float64 [keys].

    Logarithms are taken one by one: vectorized ones may differ in the last bit with the length of the array, and a
    score must not depend on the block that an image is scored in.
    """
    distinct, index = np.unique(np.maximum(frequency, 1), return_inverse=True)
    logs = np.array([math.log(value) for value in distinct.tolist()], np.float64)
    weights: Float64 = math.log(num_images) - logs[index.reshape(-1)]
    return weights


def _norms(counts: NgramCounts, idf: Float64, num_sentences: int) -> Float64:
    weight = counts.count * idf[counts.ngram]
    return np.sqrt(counts.sum_by_sentence(weight * weight, num_sentences))


def _length_penalty(block: Block) -> Float64:
    """float64 [references]; lengths are counted in bigrams, as coco-caption does."""
    candidate = np.maximum(block.candidates.lengths - 1, 0)[block.references.owner]
    delta = np.abs(candidate - np.maximum(block.references.lengths - 1, 0))
    distinct, index = np.unique(delta, return_inverse=True)
    penalties = np.array([math.exp(-(value**2) / (2 * _SIGMA**2)) for value in distinct.tolist()], np.float64)
    return penalties[index.reshape(-1)]


def _average(block: Block, similarity: Float64) -> Float64:
    """Mean over orders and references, times ten: float64 [images]."""
    summed = np.bincount(block.references.owner, similarity, block.num_images)
    return summed / MAX_ORDER / block.references_per_image * _SCALE

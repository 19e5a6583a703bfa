"""Counting n-grams in flat arrays: 64-bit keys instead of tuples, sorting instead of dictionaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caption_core.metrics.blocks import Float64, Int64, Sentences, UInt64

MAX_ORDER = 4
"""BLEU and CIDEr count n-grams of one to four words."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MIXER = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(29)


def ngram_keys(sentences: Sentences, order: int) -> tuple[UInt64, Int64]:
    """The keys of all n-grams of `order` words, and the sentence that each stands in.

    A key is a 64-bit hash of the words' keys and their order, the same in every process. Two distinct n-grams of a
    corpus of 10^8 distinct ones share a key with probability about 3e-4, over the whole corpus.

    Returns:
        uint64 [ngrams] and int64 [ngrams], in the order of the text.
    """
    lengths = sentences.lengths
    counts = np.maximum(lengths - order + 1, 0)
    sentence = np.repeat(np.arange(len(lengths), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    position = np.arange(len(sentence), dtype=np.int64) + (sentences.starts[:-1] - first)[sentence]
    keys = sentences.words[position]
    for offset in range(1, order):
        keys = _mix(keys, sentences.words[position + offset])
    return keys, sentence


def _mix(keys: UInt64, words: UInt64) -> UInt64:
    """Extend n-grams by one word: a multiply-xorshift round, so that the order of the words matters."""
    mixed = keys * _MULTIPLIER + words
    mixed ^= mixed >> _SHIFT
    mixed *= _MIXER
    mixed ^= mixed >> _SHIFT
    return mixed


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """How often each n-gram stands in each sentence: one entry a pair that occurs.

    Entries are sorted by sentence, then by the n-gram's key, so a sentence's entries have one order whatever block it
    is counted in; sums over them are the same to the last bit.

    Attributes:
        sentence: int64 [entries].
        ngram: int64 [entries], the index of the n-gram among the block's sorted distinct keys.
        count: int64 [entries], at least 1.
    """

    sentence: Int64
    ngram: Int64
    count: Int64

    def sum_by_sentence(self, values: Float64, num_sentences: int) -> Float64:
        """float64 [sentences]: `values` [entries] added up in the order of the entries."""
        sums: Float64 = np.bincount(self.sentence, values, num_sentences).astype(np.float64, copy=False)
        return sums


def count_ngrams(sentence: Int64, ngram: Int64, num_ngrams: int) -> NgramCounts:
    """Count equal (sentence, ngram) pairs. int64 [occurrences] each; `ngram` below `num_ngrams`."""
    stride = max(num_ngrams, 1)
    pairs, count = np.unique(sentence * stride + ngram, return_counts=True)
    return NgramCounts(pairs // stride, pairs % stride, count.astype(np.int64))


@dataclass(frozen=True, slots=True)
class MatchedNgrams:
    """N-grams of one order in a block's candidates and references, with the references' entries joined to the
    candidate of the same image.

    Attributes:
        keys: uint64 [distinct], the block's distinct n-grams, ascending.
        candidates: counts in the candidates (sentence = image).
        references: counts in the references (sentence = reference).
        matched: int64 [matches], entries of `references` whose n-gram stands in the image's candidate.
        partner: int64 [matches], the entry of `candidates` that each of these is matched with.
    """

    keys: UInt64
    candidates: NgramCounts
    references: NgramCounts
    matched: Int64
    partner: Int64


def match_ngrams(candidates: Sentences, references: Sentences, order: int) -> MatchedNgrams:
    """Count the n-grams of `order` words in a block and join them by image."""
    candidate_keys, image = ngram_keys(candidates, order)
    reference_keys, reference = ngram_keys(references, order)
    keys, index = np.unique(np.concatenate([candidate_keys, reference_keys]), return_inverse=True)
    index = index.reshape(-1).astype(np.int64)
    in_candidates = count_ngrams(image, index[: len(image)], len(keys))
    in_references = count_ngrams(reference, index[len(image) :], len(keys))
    matched, partner = _join(in_candidates, in_references, references.owner, len(keys))
    return MatchedNgrams(keys, in_candidates, in_references, matched, partner)


def _join(candidates: NgramCounts, references: NgramCounts, owner: Int64, num_ngrams: int) -> tuple[Int64, Int64]:
    if not len(candidates.ngram):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    known = candidates.sentence * num_ngrams + candidates.ngram
    wanted = owner[references.sentence] * num_ngrams + references.ngram
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    matched = np.flatnonzero(known[place] == wanted)
    return matched, place[matched]

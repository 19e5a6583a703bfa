"""What captions look like without any reference: length, vocabulary, variety, repetition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from caption_core.metrics.blocks import Int64, Sentences, UInt64
from caption_core.metrics.ngrams import MAX_ORDER, count_ngrams, ngram_keys

_FINAL_MIX = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class CaptionStatistics:
    """Statistics of tokenized captions; they add up over disjoint sets of images.

    Attributes:
        lengths: int64 [longest + 1], captions of each length in words.
        words: uint64, ascending keys of the distinct words used.
        captions: uint64, ascending keys of the distinct captions.
        novel: captions that are no training caption; None where training captions are not known.
        ngrams: int64 [4], n-grams of each order in all captions.
        repeated: int64 [4], those of them that stand earlier in the same caption already.
    """

    lengths: Int64
    words: UInt64
    captions: UInt64
    novel: int | None
    ngrams: Int64
    repeated: Int64

    def as_dict(self) -> dict[str, float | int | None]:
        """For a report. Shares lie between 0 and 1; `repeated_2` is the share of bigrams that repeat an earlier one of
        their caption."""
        count = int(self.lengths.sum())
        lengths = np.repeat(np.arange(len(self.lengths)), self.lengths) if count else np.zeros(1, np.int64)
        report: dict[str, float | int | None] = {
            "captions": count,
            "mean_words": float(lengths.mean()),
            "sd_words": float(lengths.std()),
            "min_words": int(lengths.min()),
            "max_words": int(lengths.max()),
            "vocabulary": len(self.words),
            "distinct_share": len(self.captions) / max(count, 1),
            "novel_share": None if self.novel is None else self.novel / max(count, 1),
        }
        for order in range(MAX_ORDER):
            report[f"repeated_{order + 1}"] = float(self.repeated[order] / max(int(self.ngrams[order]), 1))
        return report


def caption_keys(sentences: Sentences) -> UInt64:
    """One 64-bit key a sentence, uint64 [sentences]: equal for equal tokens, the same in every process."""
    keys = sentences.lengths.astype(np.uint64)
    for position in range(int(sentences.lengths.max(initial=0))):
        active = np.flatnonzero(sentences.lengths > position)
        mixed = keys[active] * _FINAL_MIX + sentences.words[sentences.starts[active] + position]
        keys[active] = mixed ^ (mixed >> np.uint64(31))
    return keys


def describe_captions(captions: Sentences, training: UInt64 | None = None) -> CaptionStatistics:
    """Statistics of a block's captions; `training` are the ascending keys of the distinct training captions."""
    keys = caption_keys(captions)
    novel = None if training is None else int((~_contains(training, keys)).sum())
    counts = [_count_repeats(captions, order) for order in range(1, MAX_ORDER + 1)]
    return CaptionStatistics(
        lengths=np.bincount(captions.lengths, minlength=1).astype(np.int64),
        words=np.unique(captions.words),
        captions=np.unique(keys),
        novel=novel,
        ngrams=np.array([total for total, _ in counts], np.int64),
        repeated=np.array([repeats for _, repeats in counts], np.int64),
    )


def _contains(ascending: UInt64, keys: UInt64) -> np.ndarray:
    if not len(ascending):
        return np.zeros(len(keys), np.bool_)
    place = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return np.asarray(ascending[place] == keys)


def _count_repeats(captions: Sentences, order: int) -> tuple[int, int]:
    keys, sentence = ngram_keys(captions, order)
    distinct, index = np.unique(keys, return_inverse=True)
    counts = count_ngrams(sentence, index.reshape(-1).astype(np.int64), len(distinct))
    return len(keys), len(keys) - len(counts.count)


def merge_statistics(parts: list[CaptionStatistics]) -> CaptionStatistics:
    """The statistics of all parts' captions together."""
    return reduce(_merge, parts)


def _merge(one: CaptionStatistics, other: CaptionStatistics) -> CaptionStatistics:
    size = max(len(one.lengths), len(other.lengths))
    lengths = np.zeros(size, np.int64)
    lengths[: len(one.lengths)] += one.lengths
    lengths[: len(other.lengths)] += other.lengths
    return CaptionStatistics(
        lengths,
        np.union1d(one.words, other.words),
        np.union1d(one.captions, other.captions),
        None if one.novel is None or other.novel is None else one.novel + other.novel,
        one.ngrams + other.ngrams,
        one.repeated + other.repeated,
    )

"""In how many images' references each n-gram stands: counted block by block, merged by adding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caption_core.metrics.blocks import Int64, Sentences, UInt64
from caption_core.metrics.ngrams import MAX_ORDER, ngram_keys


@dataclass(frozen=True, slots=True)
class FrequencyTable:
    """Document frequencies of n-grams, additive over disjoint sets of images.

    Attributes:
        keys: uint64 [ngrams], ascending.
        counts: int64 [ngrams], images whose references hold the n-gram.
        num_images: images counted.
    """

    keys: UInt64
    counts: Int64
    num_images: int

    def lookup(self, keys: UInt64) -> Int64:
        """int64 [keys], 0 for an n-gram that was not counted."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.counts[place], 0)


def count_documents(references: Sentences, num_images: int) -> FrequencyTable:
    """Count the references of `num_images` images; an n-gram counts once an image, however often it stands there."""
    parts = [_distinct_keys(references, order) for order in range(1, MAX_ORDER + 1)]
    keys, counts = np.unique(np.concatenate(parts), return_counts=True)
    return FrequencyTable(keys, counts.astype(np.int64), num_images)


def _distinct_keys(references: Sentences, order: int) -> UInt64:
    """The keys of one order, each repeated once for every image that has it."""
    keys, sentence = ngram_keys(references, order)
    image = references.owner[sentence]
    by_key = np.lexsort((image, keys))
    keys, image = keys[by_key], image[by_key]
    first = np.ones(len(keys), np.bool_)
    first[1:] = (keys[1:] != keys[:-1]) | (image[1:] != image[:-1])
    return keys[first]


def merge_tables(tables: Sequence[FrequencyTable]) -> FrequencyTable:
    """The table of all images together."""
    keys, index = np.unique(np.concatenate([table.keys for table in tables]), return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, index.reshape(-1), np.concatenate([table.counts for table in tables]))
    return FrequencyTable(keys, counts, sum(table.num_images for table in tables))

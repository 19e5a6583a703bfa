"""ROUGE-L (Lin 2004) of a caption against several references, as coco-caption defines it."""

from __future__ import annotations

import numpy as np

from caption_core.metrics.blocks import Block, Float64, Int64, Sentences, UInt64

_BETA_SQUARED = 1.2**2  # coco-caption's choice: recall counts more than precision
_WORD_BITS = 64


def rouge_l(block: Block) -> Float64:
    """float64 [images]: the F-measure of the best precision and the best recall over the references.

    The longest common subsequence of candidate and reference, divided by the length of either, gives precision and
    recall; coco-caption takes the maximum of each over the references, not necessarily of the same one. It treats an
    empty sentence as one empty word, so an empty candidate scores 1 against an empty reference and 0 otherwise.
    """
    candidates, references = _fill_empty(block.candidates), _fill_empty(block.references)
    common = _common_subsequences(candidates, references).astype(np.float64)
    first = np.cumsum(block.references_per_image) - block.references_per_image
    if not len(first):
        return np.zeros(0)
    precision = np.maximum.reduceat(common / candidates.lengths[references.owner], first)
    recall = np.maximum.reduceat(common / references.lengths, first)
    both = (precision > 0) & (recall > 0)
    below = np.where(both, recall + _BETA_SQUARED * precision, 1.0)
    return np.where(both, (1 + _BETA_SQUARED) * precision * recall / below, 0.0)


def _fill_empty(sentences: Sentences) -> Sentences:
    """The sentences, with one empty word in each that has none."""
    lengths = sentences.lengths
    if lengths.all():
        return sentences
    words = np.insert(sentences.words, sentences.starts[:-1][lengths == 0], np.uint64(0))
    starts = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1))])
    return Sentences(words, starts, sentences.owner)


def _common_subsequences(candidates: Sentences, references: Sentences) -> Int64:
    """int64 [references]: length of the longest common subsequence with the candidate of the same image."""
    short = candidates.lengths[references.owner] <= _WORD_BITS
    common = np.zeros(len(references.owner), np.int64)
    chosen = np.flatnonzero(short)
    common[chosen] = _bit_parallel(candidates, references, chosen)
    for reference in np.flatnonzero(~short):
        common[reference] = _big_integer(candidates, references, int(reference))
    return common


def _bit_parallel(candidates: Sentences, references: Sentences, chosen: Int64) -> Int64:
    """Hyyro's bit-vector recurrence (2004), one candidate position a bit, all pairs at once.

    Bit i of `open_bits` is cleared when the common subsequence grows at candidate position i.
    """
    owner = references.owner[chosen]
    lengths = references.lengths[chosen]
    padded = _pad(candidates)[owner]
    used = np.arange(padded.shape[1]) < candidates.lengths[owner][:, None]
    open_bits = np.full(len(chosen), ~np.uint64(0))
    for position in range(int(lengths.max(initial=0))):
        active = np.flatnonzero(lengths > position)
        words = references.words[references.starts[chosen[active]] + position]
        equal = _as_bits((padded[active] == words[:, None]) & used[active])
        shared = open_bits[active] & equal
        open_bits[active] = (open_bits[active] + shared) | (open_bits[active] - shared)
    cleared = np.unpackbits((~open_bits).view(np.uint8).reshape(len(chosen), 8), axis=1)
    common: Int64 = cleared.sum(axis=1, dtype=np.int64)
    return common


def _pad(sentences: Sentences) -> UInt64:
    """uint64 [sentences, at most 64], words of the sentences that fit, zeros behind them."""
    lengths = np.where(sentences.lengths <= _WORD_BITS, sentences.lengths, 0)
    padded = np.zeros((len(lengths), int(lengths.max(initial=0))), np.uint64)
    column = np.arange(padded.shape[1])
    filled = column < lengths[:, None]
    padded[filled] = sentences.words[(sentences.starts[:-1, None] + column)[filled]]
    return padded


def _as_bits(flags: np.ndarray) -> UInt64:
    """Pack bool [rows, at most 64] into uint64 [rows], column 0 in the lowest bit."""
    packed = np.zeros((len(flags), 8), np.uint8)
    octets = np.packbits(flags, axis=1, bitorder="little")
    packed[:, : octets.shape[1]] = octets
    return packed.view("<u8").reshape(-1).astype(np.uint64)


def _big_integer(candidates: Sentences, references: Sentences, reference: int) -> int:
    """The same recurrence on Python's unbounded integers, for candidates of more than 64 words."""
    image = references.owner[reference]
    candidate = candidates.words[candidates.starts[image] : candidates.starts[image + 1]].tolist()
    positions: dict[int, int] = {}
    for index, word in enumerate(candidate):
        positions[word] = positions.get(word, 0) | 1 << index
    mask = (1 << len(candidate)) - 1
    open_bits = mask
    for word in references.words[references.starts[reference] : references.starts[reference + 1]].tolist():
        shared = open_bits & positions.get(word, 0)
        open_bits = ((open_bits + shared) | (open_bits - shared)) & mask
    return len(candidate) - open_bits.bit_count()

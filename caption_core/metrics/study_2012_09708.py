"""The protocol of arXiv 2012.09708, kept only so that its figures can be compared with.

Rampal and Mohanty (2020) count the start and end token of every caption as words, in candidate and references alike.
Both always match, which inflates BLEU, the more the shorter the captions are. Their BLEU-3 has weights .3 each instead
of a third. Scores under this protocol can't be compared with any others.
"""

from __future__ import annotations

from collections.abc import Mapping

from caption_core.metrics.bleu import bleu_counts, guesses, weighted_bleu
from caption_core.metrics.blocks import Block, Float64
from caption_core.metrics.image_statistics import count_all_orders
from caption_core.metrics.ngrams import MAX_ORDER
from caption_core.metrics.tokenizer import tokenize

NAME = "arXiv 2012.09708"
WEIGHTS = {
    "BLEU-1": (1.0, 0.0, 0.0, 0.0),
    "BLEU-2": (0.5, 0.5, 0.0, 0.0),
    "BLEU-3": (0.3, 0.3, 0.3, 0.0),
    "BLEU-4": (0.25, 0.25, 0.25, 0.25),
}
_PREFIX = "study"


def with_boundaries(caption: str) -> list[str]:
    """The caption's tokens between a start and an end token."""
    return ["startseq", *tokenize(caption), "endseq"]


def study_columns(captions: list[str], references: list[list[str]]) -> dict[str, Float64]:
    """Counts that add up over images, float64 [images] each."""
    block = Block.build(captions, references, with_boundaries)
    counts = bleu_counts(block, count_all_orders(block))
    guessed = guesses(counts.length)
    columns = {f"{_PREFIX}_correct_{order + 1}": counts.correct[:, order] for order in range(MAX_ORDER)}
    columns |= {f"{_PREFIX}_guessed_{order + 1}": guessed[:, order].clip(min=1) for order in range(MAX_ORDER)}
    columns |= {f"{_PREFIX}_length": counts.length, f"{_PREFIX}_reference_length": counts.reference_length}
    return {name: column.astype(float) for name, column in columns.items()}


def study_scores(sums: Mapping[str, float]) -> dict[str, float]:
    """BLEU-1 to 4 under the protocol, from sums of the columns."""
    correct = [int(sums[f"{_PREFIX}_correct_{order + 1}"]) for order in range(MAX_ORDER)]
    guessed = [int(sums[f"{_PREFIX}_guessed_{order + 1}"]) for order in range(MAX_ORDER)]
    length, reference_length = int(sums[f"{_PREFIX}_length"]), int(sums[f"{_PREFIX}_reference_length"])
    return {
        name: weighted_bleu(correct, guessed, length, reference_length, weights) for name, weights in WEIGHTS.items()
    }

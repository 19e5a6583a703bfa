"""Corpus scores of captions: BLEU-1..4, ROUGE-L, CIDEr-D and CIDEr."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caption_core.errors import CapstanError
from caption_core.metrics.blocks import Block
from caption_core.metrics.corpus_sums import scores_from_sums, statistics_columns
from caption_core.metrics.document_frequency import count_documents, merge_tables
from caption_core.metrics.image_statistics import ImageStatistics, measure_block

_BLOCK_IMAGES = 2_000  # bounds the memory of a block to some 50 MB with five references an image


class MetricError(CapstanError):
    """Captions and references that can't be scored against one another."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Corpus scores on the field's scales: all between 0 and 1, but CIDEr-D and CIDEr between 0 and 10."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    rouge_l: float
    cider_d: float
    cider: float

    def as_dict(self) -> dict[str, float]:
        """Scores under the names of coco-caption (whose "CIDEr" is CIDEr-D)."""
        return {
            "Bleu_1": self.bleu_1,
            "Bleu_2": self.bleu_2,
            "Bleu_3": self.bleu_3,
            "Bleu_4": self.bleu_4,
            "ROUGE_L": self.rouge_l,
            "CIDEr-D": self.cider_d,
            "CIDEr": self.cider,
        }


def corpus_scores(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Scores:
    """Score one caption an image against its references, both by image id.

    Captions and references are raw text; they are tokenized here. Document frequencies for CIDEr come from the given
    references, as in coco-caption, so scores of a subset differ from the mean of its images' scores.

    Raises:
        MetricError: the ids of the two differ, there are none, or an image has no reference.
    """
    return reduce_statistics(image_statistics(candidates, references))


def image_statistics(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> ImageStatistics:
    """Sufficient statistics of each image, in the order of `candidates`. Raises as `corpus_scores` does."""
    _check_ids(candidates, references)
    blocks = list(_blocks(candidates, references))
    frequency = merge_tables([count_documents(block.references, block.num_images) for block in blocks])
    return ImageStatistics.concatenate([measure_block(block, frequency) for block in blocks])


def _check_ids(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not candidates:
        raise MetricError("there is no caption to score")
    if missing := references.keys() - candidates.keys():
        raise MetricError(f"{len(missing)} images of the references have no caption, {min(missing)!r} among them")
    if extra := candidates.keys() - references.keys():
        raise MetricError(f"{len(extra)} captions have no reference, that of {min(extra)!r} among them")
    if empty := [image_id for image_id, sentences in references.items() if not sentences]:
        raise MetricError(f"{len(empty)} images have an empty list of references, {min(empty)!r} among them")


def _blocks(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> Iterator[Block]:
    ids = list(candidates)
    for start in range(0, len(ids), _BLOCK_IMAGES):
        chosen = ids[start : start + _BLOCK_IMAGES]
        yield Block.build([candidates[name] for name in chosen], [references[name] for name in chosen])


def reduce_statistics(statistics: ImageStatistics) -> Scores:
    """Corpus scores from the rows of all images, the same to the last bit in whatever order these come."""
    columns = statistics_columns(statistics)
    sums = {name: np.array(math.fsum(column.tolist())) for name, column in columns.items()}
    return Scores(*(float(score) for score in scores_from_sums(sums, len(statistics)).values()))

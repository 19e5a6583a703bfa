from __future__ import annotations

import numpy as np
from hypothesis import given

from caption_core.metrics.blocks import Block
from caption_core.metrics.document_frequency import FrequencyTable, count_documents, merge_tables
from tests.metrics.caption_strategies import corpora, plain_captions

Corpus = dict[str, tuple[str, list[str]]]


def table_of(references: list[list[str]]) -> FrequencyTable:
    block = Block.build([""] * len(references), references)
    return count_documents(block.references, block.num_images)


def test_an_ngram_counts_once_an_image() -> None:
    table = table_of([["a dog a dog", "a dog"], ["a cat"]])
    assert table.num_images == 2
    assert sorted(table.counts.tolist()) == [1] * 8 + [2]  # only "a" stands with both images


@given(corpora(plain_captions))
def test_parts_add_up_to_the_whole(corpus: Corpus) -> None:
    references = [texts for _, texts in corpus.values()]
    whole = table_of(references)
    parts = merge_tables([table_of([texts]) for texts in references])
    assert parts.num_images == whole.num_images
    assert parts.keys.tolist() == whole.keys.tolist()
    assert parts.counts.tolist() == whole.counts.tolist()


def test_unknown_ngrams_have_no_document() -> None:
    table = table_of([["a dog"]])
    unknown = np.setdiff1d(np.arange(5, dtype=np.uint64), table.keys)
    assert table.lookup(unknown).tolist() == [0] * len(unknown)
    assert table.lookup(table.keys).tolist() == table.counts.tolist()
    assert FrequencyTable(np.zeros(0, np.uint64), np.zeros(0, np.int64), 0).lookup(unknown).tolist() == [0] * len(
        unknown
    )

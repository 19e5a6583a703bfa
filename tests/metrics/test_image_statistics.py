from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics.blocks import Block
from caption_core.metrics.document_frequency import count_documents
from caption_core.metrics.image_statistics import ImageStatistics, measure_block
from tests.metrics.caption_strategies import corpora, wild_captions

Corpus = dict[str, tuple[str, list[str]]]
FIELDS = ("correct", "length", "reference_length", "rouge_l", "cider_d", "cider")


@given(corpora(wild_captions), st.randoms(use_true_random=False))
def test_the_block_that_an_image_is_in_changes_no_bit(corpus: Corpus, random: object) -> None:
    candidates, references = [c for c, _ in corpus.values()], [r for _, r in corpus.values()]
    whole = Block.build(candidates, references)
    frequency = count_documents(whole.references, whole.num_images)
    together = measure_block(whole, frequency)
    order = list(range(len(candidates)))
    random.shuffle(order)  # type: ignore[attr-defined]
    apart = ImageStatistics.concatenate(
        [measure_block(Block.build([candidates[i]], [references[i]]), frequency) for i in order]
    )
    back = apart.take(np.argsort(order))
    for field in FIELDS:
        assert getattr(back, field).tobytes() == getattr(together, field).tobytes()

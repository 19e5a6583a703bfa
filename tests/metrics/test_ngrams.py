from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics.blocks import Sentences
from caption_core.metrics.ngrams import MAX_ORDER, match_ngrams, ngram_keys
from tests.metrics import plain_metrics
from tests.metrics.caption_strategies import plain_captions

texts = st.lists(plain_captions, min_size=1, max_size=6)


@given(texts)
def test_equal_ngrams_and_only_those_share_a_key(captions: list[str]) -> None:
    sentences = Sentences.build(captions, range(len(captions)))
    for order in range(1, MAX_ORDER + 1):
        keys, owner = ngram_keys(sentences, order)
        plain = [
            (index, gram)
            for index, caption in enumerate(captions)
            for start in range(len(caption.split()) - order + 1)
            for gram in [tuple(caption.split()[start : start + order])]
        ]
        assert owner.tolist() == [index for index, _ in plain]
        assert len(set(zip(keys.tolist(), [gram for _, gram in plain], strict=True))) == len(set(keys.tolist()))
        assert len(set(keys.tolist())) == len({gram for _, gram in plain})


def test_the_order_of_words_matters() -> None:
    keys, _ = ngram_keys(Sentences.build(["a b c", "c b a", "b a c"], [0, 1, 2]), 3)
    assert len(set(keys.tolist())) == 3


@given(texts, texts)
def test_matches_are_the_ngrams_that_an_image_shares_with_its_references(one: list[str], other: list[str]) -> None:
    size = min(len(one), len(other))
    candidates, references = Sentences.build(one[:size], range(size)), Sentences.build(other[:size], range(size))
    for order in range(1, MAX_ORDER + 1):
        matches = match_ngrams(candidates, references, order)
        found = Counter(matches.candidates.sentence[matches.partner].tolist())
        shared = {
            image: len(plain_metrics.ngrams(a.split(), order) & plain_metrics.ngrams(b.split(), order))
            for image, (a, b) in enumerate(zip(one, other, strict=False))
        }
        assert found == Counter({image: count for image, count in shared.items() if count})

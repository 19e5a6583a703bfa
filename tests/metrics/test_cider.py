from __future__ import annotations

import math

import pytest
from hypothesis import given

from caption_core.metrics.scores import corpus_scores, image_statistics
from caption_core.metrics.tokenizer import tokenize
from tests.metrics import plain_metrics
from tests.metrics.caption_strategies import corpora, wild_captions

Corpus = dict[str, tuple[str, list[str]]]


@given(corpora(wild_captions))
def test_equals_the_plain_definition(corpus: Corpus) -> None:
    statistics = image_statistics({n: c for n, (c, _) in corpus.items()}, {n: r for n, (_, r) in corpus.items()})
    tokens = {n: (tokenize(c), [tokenize(r) for r in refs]) for n, (c, refs) in corpus.items()}
    assert statistics.cider_d.tolist() == pytest.approx([*plain_metrics.cider(tokens, clipped=True).values()], abs=1e-9)
    assert statistics.cider.tolist() == pytest.approx([*plain_metrics.cider(tokens, clipped=False).values()], abs=1e-9)


def test_a_copy_of_the_only_reference_scores_ten() -> None:
    texts = {"1": "a red dog runs fast", "2": "two cats sleep on sofas"}
    scores = corpus_scores(texts, {name: [text] for name, text in texts.items()})
    assert scores.cider_d == pytest.approx(10.0)
    assert scores.cider == pytest.approx(10.0)


def test_ngrams_that_all_images_have_weigh_nothing() -> None:
    scores = corpus_scores({"1": "a dog", "2": "a dog"}, {"1": ["a dog"], "2": ["a dog"]})
    assert scores.cider_d == 0.0


def test_one_image_alone_has_no_document_frequencies_to_speak_of() -> None:
    assert corpus_scores({"1": "a dog runs"}, {"1": ["a dog runs"]}).cider_d == 0.0


def test_clipping_and_the_length_penalty_are_what_tells_the_two_apart() -> None:
    references = {"1": ["red dog"], "2": ["two cats sleep"]}
    statistics = image_statistics({"1": "red dog red dog red dog", "2": "two cats sleep"}, references)
    assert statistics.cider_d[0] < statistics.cider[0]
    assert statistics.cider_d[1] == pytest.approx(statistics.cider[1])


def test_the_penalty_counts_bigrams() -> None:
    # A candidate of one word and an empty one both have no bigram, so neither is penalized against the other.
    references = {"1": ["dog"], "2": ["two cats sleep"]}
    one_word = image_statistics({"1": "dog", "2": "two cats sleep"}, references).cider_d[0]
    assert one_word == pytest.approx(10 / 4)
    two_words = image_statistics({"1": "dog x", "2": "two cats sleep"}, references).cider_d[0]
    weight = math.log(2)
    cosine = weight * weight / (weight * math.sqrt(2) * weight)
    assert two_words == pytest.approx(10 / 4 * cosine * math.exp(-1 / 72))

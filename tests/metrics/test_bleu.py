from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from nltk.translate.bleu_score import corpus_bleu

from caption_core.metrics.bleu import coco_bleu, guesses, weighted_bleu
from caption_core.metrics.corpus_sums import nltk_bleu, statistics_columns
from caption_core.metrics.scores import corpus_scores, image_statistics
from caption_core.metrics.tokenizer import tokenize
from tests.metrics import plain_metrics
from tests.metrics.caption_strategies import corpora, plain_captions, wild_captions

Corpus = dict[str, tuple[str, list[str]]]


def split(corpus: Corpus) -> tuple[dict[str, str], dict[str, list[str]]]:
    return {name: c for name, (c, _) in corpus.items()}, {name: r for name, (_, r) in corpus.items()}


@given(corpora(wild_captions))
def test_equals_the_plain_definition(corpus: Corpus) -> None:
    scores = corpus_scores(*split(corpus))
    plain = plain_metrics.bleu({n: (tokenize(c), [tokenize(r) for r in refs]) for n, (c, refs) in corpus.items()})
    assert [scores.bleu_1, scores.bleu_2, scores.bleu_3, scores.bleu_4] == pytest.approx(plain, abs=1e-9)


@given(corpora(plain_captions))
def test_equals_nltk(corpus: Corpus) -> None:
    columns = statistics_columns(image_statistics(*split(corpus)))
    ours = nltk_bleu({name: float(column.sum()) for name, column in columns.items()})
    candidates = [tokenize(caption) for caption, _ in corpus.values()]
    references = [[tokenize(text) for text in texts] for _, texts in corpus.values()]
    for order in range(1, 5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NLTK warns where no n-gram matches
            theirs = corpus_bleu(references, candidates, weights=[1 / order] * order)
        assert ours[f"Bleu_{order}"] == pytest.approx(theirs, abs=1e-9)


def test_nltk_and_coco_caption_differ_on_captions_shorter_than_an_ngram() -> None:
    corpus = {"1": ("a dog runs on grass", ["a dog runs on grass"]), "2": ("a dog", ["a dog"])}
    columns = statistics_columns(image_statistics(*split(corpus)))
    sums = {name: column.sum() for name, column in columns.items()}
    assert corpus_scores(*split(corpus)).bleu_4 == pytest.approx(1.0)  # two 4-grams, both match
    third, fourth = 3 / 4, 2 / 3  # NLTK counts a 3-gram and a 4-gram in "a dog", which match nothing
    assert nltk_bleu({n: float(s) for n, s in sums.items()})["Bleu_4"] == pytest.approx((third * fourth) ** 0.25)


def test_of_two_equally_close_reference_lengths_the_shorter_counts() -> None:
    corpus = {"1": ("a b c", ["a b c d e", "a"])}
    assert image_statistics(*split(corpus)).reference_length.tolist() == [1]


def test_an_ngram_counts_no_more_often_than_in_the_reference_that_has_it_most() -> None:
    corpus = {"1": ("the the the the", ["the dog", "the dog the"])}
    assert image_statistics(*split(corpus)).correct.tolist() == [[2, 0, 0, 0]]


def test_weights_are_exponents() -> None:
    assert weighted_bleu([8, 4], [16, 16], 10, 10, [0.5, 0.5]) == pytest.approx((0.5 * 0.25) ** 0.5)
    assert weighted_bleu([0, 0], [3, 2], 3, 3, [0.5, 0.5]) == 0.0
    assert weighted_bleu([4], [4], 4, 8, [1.0]) == pytest.approx(np.exp(-1))


def test_many_corpora_at_once() -> None:
    one = coco_bleu(np.array([3.0, 2, 1, 0]), np.array([4.0, 3, 2, 1]), np.array(4.0), np.array(5.0))
    many = coco_bleu(np.tile([3.0, 2, 1, 0], (7, 1)), np.tile([4.0, 3, 2, 1], (7, 1)), np.full(7, 4.0), np.full(7, 5.0))
    assert many.shape == (7, 4)
    assert np.allclose(many, one, atol=0, rtol=1e-15)


def test_guesses() -> None:
    assert guesses(np.array([0, 1, 3, 6])).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [3, 2, 1, 0], [6, 5, 4, 3]]

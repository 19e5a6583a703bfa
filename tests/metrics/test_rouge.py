from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics.blocks import Block
from caption_core.metrics.rouge import rouge_l
from caption_core.metrics.tokenizer import tokenize
from tests.metrics import plain_metrics
from tests.metrics.caption_strategies import corpora, wild_captions

Corpus = dict[str, tuple[str, list[str]]]


@given(corpora(wild_captions))
def test_equals_the_plain_definition(corpus: Corpus) -> None:
    block = Block.build([c for c, _ in corpus.values()], [r for _, r in corpus.values()])
    plain = [plain_metrics.rouge_l(tokenize(c), [tokenize(r) for r in refs]) for c, refs in corpus.values()]
    assert rouge_l(block).tolist() == pytest.approx(plain, abs=1e-12)


@given(st.lists(st.sampled_from("abc"), max_size=200), st.lists(st.sampled_from("abc"), max_size=90))
def test_sentences_of_any_length(candidate: list[str], reference: list[str]) -> None:
    block = Block.build([" ".join(candidate)] * 2, [[" ".join(reference)], [" ".join(candidate), "z"]])
    expected = plain_metrics.rouge_l(candidate, [reference])
    assert rouge_l(block).tolist() == pytest.approx([expected, 1.0], abs=1e-12)


@pytest.mark.parametrize("words", [63, 64, 65])
def test_around_the_width_of_a_machine_word(words: int) -> None:
    caption = " ".join(f"w{number}" for number in range(words))
    assert rouge_l(Block.build([caption], [[caption]])).tolist() == [1.0]


def test_an_empty_candidate_scores_only_against_an_empty_reference() -> None:
    block = Block.build(["", "", "."], [["a dog"], ["a dog", ""], ["!"]])
    assert rouge_l(block).tolist() == [0.0, 1.0, 1.0]


def test_best_precision_and_best_recall_may_come_from_different_references() -> None:
    block = Block.build(["a b c d"], [["a b c x y z w v", "d"]])
    precision, recall = 3 / 4, 1.0
    assert rouge_l(block)[0] == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))


def test_no_image() -> None:
    assert rouge_l(Block.build([], [])).shape == (0,)
    assert rouge_l(Block.build([], [])).dtype == np.float64

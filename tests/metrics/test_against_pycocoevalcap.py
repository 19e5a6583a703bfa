"""The metrics against pycocoevalcap, where it is installed: on random captions, and image by image."""

from __future__ import annotations

import pytest
from hypothesis import given

from caption_core.metrics.scores import image_statistics, reduce_statistics
from caption_core.metrics.tokenizer import tokenize
from tests.metrics.caption_strategies import corpora, wild_captions

pytest.importorskip("pycocoevalcap", reason="needs the extra 'coco'")

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

Corpus = dict[str, tuple[str, list[str]]]


def tokenized(corpus: Corpus) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    references = {name: [" ".join(tokenize(text)) for text in texts] for name, (_, texts) in corpus.items()}
    return references, {name: [" ".join(tokenize(caption))] for name, (caption, _) in corpus.items()}


@given(corpora(wild_captions))
def test_equal_to_nine_digits(corpus: Corpus) -> None:
    statistics = image_statistics({n: c for n, (c, _) in corpus.items()}, {n: r for n, (_, r) in corpus.items()})
    scores = reduce_statistics(statistics)
    references, candidates = tokenized(corpus)
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    assert [scores.bleu_1, scores.bleu_2, scores.bleu_3, scores.bleu_4] == pytest.approx(bleu, abs=1e-9)
    rouge, rouges = Rouge().compute_score(references, candidates)
    assert scores.rouge_l == pytest.approx(rouge, abs=1e-9)
    assert statistics.rouge_l.tolist() == pytest.approx(rouges.tolist(), abs=1e-9)
    if any(text for texts in references.values() for text in texts):  # it stops where no reference has a word
        cider, ciders = Cider().compute_score(references, candidates)
        assert scores.cider_d == pytest.approx(cider, abs=1e-9)
        assert statistics.cider_d.tolist() == pytest.approx(ciders.tolist(), abs=1e-9)

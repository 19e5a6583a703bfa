from __future__ import annotations

import random

import pytest

from caption_core.metrics import scores as module
from caption_core.metrics.scores import MetricError, Scores, corpus_scores

REFERENCES = {"1": ["a dog runs", "the dog is running"], "2": ["two cats sleep"], "3": ["a red car on the street"]}
CAPTIONS = {"1": "a dog is running", "2": "two cats", "3": "a car"}


def test_scores_lie_in_their_ranges() -> None:
    scores = corpus_scores(CAPTIONS, REFERENCES)
    values = scores.as_dict()
    assert list(values) == ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr-D", "CIDEr"]
    assert all(0 <= values[name] <= 1 for name in ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L"))
    assert 0 < scores.cider_d < 10
    assert isinstance(scores, Scores)
    assert type(scores.bleu_1) is float


def test_the_order_of_images_changes_no_bit() -> None:
    pick = random.Random(1)
    words = ["a", "dog", "cat", "runs", "sleeps", "on", "the", "red", "grass"]
    captions = {str(i): " ".join(pick.choices(words, k=pick.randint(1, 12))) for i in range(300)}
    references = {name: [" ".join(pick.choices(words, k=9)) for _ in range(5)] for name in captions}
    shuffled = list(captions)
    pick.shuffle(shuffled)
    assert corpus_scores({name: captions[name] for name in shuffled}, references) == corpus_scores(captions, references)


def test_the_size_of_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = corpus_scores(CAPTIONS, REFERENCES)
    monkeypatch.setattr(module, "_BLOCK_IMAGES", 1)
    assert corpus_scores(CAPTIONS, REFERENCES) == whole


@pytest.mark.parametrize(
    ("captions", "references", "message"),
    [
        ({}, {}, "no caption"),
        ({"1": "a"}, {"1": ["a"], "2": ["b"]}, "1 images of the references have no caption, '2'"),
        ({"1": "a", "x": "b"}, {"1": ["a"]}, "1 captions have no reference, that of 'x'"),
        ({"1": "a"}, {"1": []}, "1 images have an empty list of references, '1'"),
    ],
)
def test_what_does_not_match_is_named(captions: dict[str, str], references: dict[str, list[str]], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        corpus_scores(captions, references)


def test_empty_captions_score_nothing() -> None:
    scores = corpus_scores(dict.fromkeys(REFERENCES, ""), REFERENCES)
    assert scores.as_dict() == pytest.approx(dict.fromkeys(scores.as_dict(), 0.0), abs=1e-12)

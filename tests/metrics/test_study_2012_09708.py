from __future__ import annotations

import json
from pathlib import Path

import pytest
from nltk.translate.bleu_score import corpus_bleu

from caption_core.metrics.scores import corpus_scores
from caption_core.metrics.study_2012_09708 import WEIGHTS, study_columns, study_scores, with_boundaries

CAPTIONS = ["a dog runs on grass", "two cats", "a red car"]
REFERENCES = [["a dog is running on grass", "the dog"], ["two cats sleep"], ["the car is red", "a red car drives"]]


def scores(captions: list[str], references: list[list[str]]) -> dict[str, float]:
    columns = study_columns(captions, references)
    return study_scores({name: float(column.sum()) for name, column in columns.items()})


def test_equals_nltk_on_captions_with_start_and_end_tokens() -> None:
    candidates = [["startseq", *caption.split(), "endseq"] for caption in CAPTIONS]
    references = [[["startseq", *text.split(), "endseq"] for text in texts] for texts in REFERENCES]
    ours = scores(CAPTIONS, REFERENCES)
    for name, weights in WEIGHTS.items():
        assert ours[name] == pytest.approx(corpus_bleu(references, candidates, weights=weights), abs=1e-12)


def test_the_weights_of_the_study() -> None:
    assert WEIGHTS["BLEU-3"][:3] == (0.3, 0.3, 0.3)


def test_the_boundaries_are_words() -> None:
    assert with_boundaries("A dog.") == ["startseq", "a", "dog", "endseq"]


def test_it_inflates_bleu(shared_data: Path) -> None:
    folder = shared_data / "coco_metrics"
    references: dict[str, list[str]] = {}
    for record in json.loads((folder / "captions_test5k.json").read_text())["annotations"]:
        references.setdefault(str(record["image_id"]), []).append(record["caption"])
    records = json.loads((folder / "candidates" / "supermask_lstm_0975.json").read_text())
    captions = {str(record["image_id"]): record["caption"] for record in records}
    honest = corpus_scores(captions, references)
    inflated = scores(list(captions.values()), [references[name] for name in captions])
    assert inflated["BLEU-1"] - honest.bleu_1 > 0.04
    assert inflated["BLEU-2"] - honest.bleu_2 > 0.02

"""The metrics against scores that other researchers published for their captions of MS-COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caption_core.metrics.scores import corpus_scores

TOLERANCE = {"Bleu_1": 5e-4, "Bleu_2": 5e-4, "Bleu_3": 5e-4, "Bleu_4": 5e-4, "CIDEr": 5e-4, "ROUGE_L": 1e-3}
CANDIDATES = ["updown_scst.json", "supermask_lstm_0975.json", "comic_radix_cnnft.json"]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def captions_and_references(folder: Path, candidates: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    references: dict[str, list[str]] = {}
    for record in read(folder / "captions_test5k.json")["annotations"]:
        references.setdefault(str(record["image_id"]), []).append(record["caption"])
    return {str(r["image_id"]): r["caption"] for r in read(folder / "candidates" / candidates)}, references


@pytest.mark.parametrize("candidates", CANDIDATES)
def test_scores_are_the_published_ones(candidates: str, shared_data: Path) -> None:
    folder = shared_data / "coco_metrics"
    published = read(folder / "published_scores.json")["candidates"][candidates]
    scores = corpus_scores(*captions_and_references(folder, candidates)).as_dict()
    scores["CIDEr"] = scores["CIDEr-D"]  # what the field calls CIDEr
    assert {name: scores[name] for name in TOLERANCE} == {
        name: pytest.approx(published[name], abs=tolerance) for name, tolerance in TOLERANCE.items()
    }


def test_no_candidate_file_is_passed_over(shared_data: Path) -> None:
    assert sorted(read(shared_data / "coco_metrics" / "published_scores.json")["candidates"]) == sorted(CANDIDATES)

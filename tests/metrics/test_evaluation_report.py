from __future__ import annotations

import json
from pathlib import Path

import pytest

from caption_core.metrics.bootstrap import BootstrapSettings
from caption_core.metrics.evaluation import EvaluateConfig, Evaluation, run_evaluate
from caption_core.metrics.evaluation_report import NAME, format_evaluation, report_of, write_scores
from caption_core.metrics.pairing import MismatchPolicy, MissingPolicy, PairingPolicy
from tests.metrics.corpus_builders import random_corpus, write_run, write_tokens


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("evaluation")
    captions, references = random_corpus(60)
    run = write_run(folder / "run", {**captions, "000003.jpg": None, "extra.jpg": "a dog"})
    baseline = write_run(folder / "baseline", dict.fromkeys(captions, "a dog on grass"))
    config = EvaluateConfig(
        captions=str(run),
        references=str(write_tokens(folder / "tokens.txt", references)),
        baseline=str(baseline),
        policy=PairingPolicy(MissingPolicy.EMPTY, MismatchPolicy.SKIP),
        bootstrap=BootstrapSettings(resamples=40),
        optional_metrics=False,
        study=True,
    )
    return run_evaluate(config)


def test_scores_json(evaluation: Evaluation, tmp_path: Path) -> None:
    path = write_scores(tmp_path / "new", evaluation)
    assert path == tmp_path / "new" / NAME
    report = json.loads(path.read_text())
    names = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr-D", "CIDEr"]
    assert list(report["scores"]) == names
    assert all(score["low"] <= score["score"] <= score["high"] for score in report["scores"].values())
    assert report["coverage"]["scored"] == 60
    assert report["coverage"]["failed_examples"] == ["000003.jpg"]
    assert report["coverage"]["extra"] == 1
    assert set(report["baseline"]["differences"]) == set(names)
    assert set(report["arXiv 2012.09708"]) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"}
    assert report["settings"]["missing"] == "empty"


def test_an_old_scores_json_is_replaced_whole(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("old")
    write_scores(tmp_path, evaluation)
    assert json.loads((tmp_path / NAME).read_text()) == json.loads(json.dumps(report_of(evaluation)))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_table(evaluation: Evaluation) -> None:
    table = format_evaluation(evaluation)
    assert "60 images, 300 references" in table
    assert "1 images that the captioner failed on (000003.jpg)" in table
    assert "1 captions without a reference, left out (extra.jpg)" in table
    score = evaluation.result.scores.scores["CIDEr-D"]
    assert score.interval is not None
    assert f"{score.value:>8.4f}  [{score.interval.low:.4f}, {score.interval.high:.4f}]" in table
    found = evaluation.differences["CIDEr-D"]
    assert f"{100 * found.value:+.2f}" in table
    assert "points of 1/100, on the same images" in table
    assert "different words" in table


def test_notes_are_printed_a_line_each(evaluation: Evaluation) -> None:
    noted = Evaluation(evaluation.config, evaluation.result, None, {}, ["SPICE left out: no java command"])
    assert "note: SPICE left out: no java command" in format_evaluation(noted).splitlines()

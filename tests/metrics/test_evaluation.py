from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from caption_core.errors import UsageError
from caption_core.metrics import buckets, shard_scoring
from caption_core.metrics.bootstrap import BootstrapSettings
from caption_core.metrics.evaluation import EvaluateConfig, run_evaluate
from caption_core.metrics.pairing import MismatchPolicy, MissingPolicy, PairingPolicy
from caption_core.metrics.scores import MetricError, corpus_scores
from tests.metrics.corpus_builders import random_corpus, write_run, write_tokens

CAPTIONS, REFERENCES = random_corpus(120)
FEW = BootstrapSettings(resamples=50)


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    """Arguments of a config for 120 images."""
    captions = write_run(tmp_path / "run", CAPTIONS)
    references = write_tokens(tmp_path / "tokens.txt", REFERENCES)
    return {"captions": str(captions), "references": str(references), "bootstrap": FEW, "optional_metrics": False}


def in_threads(step: Callable[[Any], Any], items: Sequence[Any], /) -> Iterable[Any]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(step, reversed(items)))


def score_values(config: EvaluateConfig, **arguments: Any) -> dict[str, float]:
    return {name: score.value for name, score in run_evaluate(config, **arguments).result.scores.scores.items()}


def test_scores_are_those_of_the_corpus_in_memory(corpus: dict[str, Any]) -> None:
    assert score_values(EvaluateConfig(**corpus)) == corpus_scores(CAPTIONS, REFERENCES).as_dict()


def test_neither_buckets_nor_blocks_nor_who_runs_them_change_a_bit(
    corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_IMAGES", 17)
    monkeypatch.setattr(shard_scoring, "_BLOCK_IMAGES", 5)
    assert score_values(EvaluateConfig(**corpus)) == corpus_scores(CAPTIONS, REFERENCES).as_dict()
    here, there = (run_evaluate(EvaluateConfig(**corpus), runner) for runner in (shard_scoring.run_here, in_threads))
    assert here.result.scores == there.result.scores  # intervals too
    assert here.result.captions.as_dict() == there.result.captions.as_dict()


def test_intervals_hold_their_scores(corpus: dict[str, Any]) -> None:
    for score in run_evaluate(EvaluateConfig(**corpus)).result.scores.scores.values():
        assert score.interval is not None
        assert score.interval.low < score.value < score.interval.high


def test_no_draws_no_intervals(corpus: dict[str, Any]) -> None:
    corpus["bootstrap"] = BootstrapSettings(resamples=0)
    scores = run_evaluate(EvaluateConfig(**corpus)).result.scores.scores
    assert all(score.interval is None for score in scores.values())


def test_the_images_report(corpus: dict[str, Any], tmp_path: Path) -> None:
    run_evaluate(EvaluateConfig(**corpus, output=tmp_path / "new" / "out"))
    table = pq.read_table(tmp_path / "new" / "out" / "images.parquet")
    rows = {row["image_id"]: row for row in table.to_pylist()}
    assert rows.keys() == CAPTIONS.keys()
    assert table.column("image_id").to_pylist() == sorted(CAPTIONS)
    for name, row in itertools.islice(rows.items(), 5):
        assert row["caption"] == CAPTIONS[name]
        assert row["references"] == REFERENCES[name]
        alone = corpus_scores({name: CAPTIONS[name]}, {name: REFERENCES[name]})
        assert row["Bleu_4"] == pytest.approx(alone.bleu_4, abs=1e-12)
        assert row["ROUGE_L"] == pytest.approx(alone.rouge_l)
    mean = sum(row["CIDEr-D"] for row in rows.values()) / len(rows)
    assert mean == pytest.approx(corpus_scores(CAPTIONS, REFERENCES).cider_d)


def test_a_split(corpus: dict[str, Any], tmp_path: Path) -> None:
    names = sorted(CAPTIONS)[10:40]
    (tmp_path / "split.txt").write_text("\n".join(names))
    evaluation = run_evaluate(EvaluateConfig(**corpus, split=str(tmp_path / "split.txt")))
    own = corpus_scores({n: CAPTIONS[n] for n in names}, {n: REFERENCES[n] for n in names})
    assert {name: score.value for name, score in evaluation.result.scores.scores.items()} == own.as_dict()
    assert evaluation.result.coverage.outside_split.count == 90


def test_captions_of_a_split_against_references_of_all(corpus: dict[str, Any], tmp_path: Path) -> None:
    names = sorted(CAPTIONS)[:30]
    corpus["captions"] = str(write_run(tmp_path / "part-run", {name: CAPTIONS[name] for name in names}))
    with pytest.raises(MetricError, match=r"90 images without a caption .* --split FILE"):
        run_evaluate(EvaluateConfig(**corpus))
    (tmp_path / "split.txt").write_text("\n".join(names))
    assert run_evaluate(EvaluateConfig(**corpus, split=str(tmp_path / "split.txt"))).result.coverage.scored == 30


def test_failed_images(corpus: dict[str, Any], tmp_path: Path) -> None:
    failed = {**CAPTIONS, "000007.jpg": None}
    corpus["captions"] = str(write_run(tmp_path / "failed", failed))
    with pytest.raises(MetricError, match=r"1 images without a caption \('000007.jpg'"):
        run_evaluate(EvaluateConfig(**corpus))
    empty = score_values(EvaluateConfig(**corpus, policy=PairingPolicy(missing=MissingPolicy.EMPTY)))
    assert empty == corpus_scores({**CAPTIONS, "000007.jpg": ""}, REFERENCES).as_dict()
    left = {name: CAPTIONS[name] for name in CAPTIONS if name != "000007.jpg"}
    skipped = score_values(EvaluateConfig(**corpus, policy=PairingPolicy(missing=MissingPolicy.SKIP)))
    assert skipped == corpus_scores(left, {name: REFERENCES[name] for name in left}).as_dict()


def test_names_in_folders(corpus: dict[str, Any], tmp_path: Path) -> None:
    corpus["captions"] = str(write_run(tmp_path / "deep", {f"x/y/{name}": text for name, text in CAPTIONS.items()}))
    with pytest.raises(MetricError, match=r"120 captions without a reference .*; 120 images without a caption"):
        run_evaluate(EvaluateConfig(**corpus))
    assert score_values(EvaluateConfig(**corpus, by_name=True)) == corpus_scores(CAPTIONS, REFERENCES).as_dict()


def test_coco_numbers(corpus: dict[str, Any], tmp_path: Path) -> None:
    results = [{"image_id": int(name[:6]), "caption": text} for name, text in CAPTIONS.items()]
    (tmp_path / "results.json").write_text(json.dumps(results))
    annotations = [{"image_id": int(n[:6]), "caption": text} for n, texts in REFERENCES.items() for text in texts]
    (tmp_path / "coco.json").write_text(json.dumps({"annotations": annotations}))
    corpus |= {"captions": str(tmp_path / "results.json"), "references": str(tmp_path / "coco.json")}
    assert score_values(EvaluateConfig(**corpus)) == corpus_scores(CAPTIONS, REFERENCES).as_dict()


def test_oddities_are_counted(tmp_path: Path) -> None:
    captions = {"a": "", "b": "一只狗在跑", "c": "café", "d": "собака бежит", "e": "a dog"}
    references = {"a": ["a cat", "..."], "b": ["一只狗在跑"], "c": ["café"], "d": ["собака бежит"], "e": ["a dog"]}
    run, tokens = write_run(tmp_path / "run", captions), write_tokens(tmp_path / "tokens.txt", references)
    result = run_evaluate(EvaluateConfig(str(run), str(tokens), optional_metrics=False, bootstrap=FEW)).result
    assert result.coverage.empty_captions.examples == ["a"]
    assert result.coverage.empty_references.examples == ["a"]
    assert sorted(result.coverage.non_latin.examples) == ["b", "d"]
    assert result.scores.scores["Bleu_1"].value == pytest.approx(1.0, abs=0.3)


def test_novelty(corpus: dict[str, Any], tmp_path: Path) -> None:
    training = {name: [text.upper()] for name, text in list(CAPTIONS.items())[:60]}
    path = write_tokens(tmp_path / "training.txt", training)
    facts = run_evaluate(EvaluateConfig(**corpus, training_captions=str(path))).result.captions.as_dict()
    assert facts["novel_share"] == 0.5
    (tmp_path / "split.txt").write_text("\n".join(list(training)[:12]))
    split = str(tmp_path / "split.txt")
    config = EvaluateConfig(**corpus, training_captions=str(path), training_split=split)
    assert run_evaluate(config).result.captions.as_dict()["novel_share"] == 0.9


def test_a_baseline(corpus: dict[str, Any], tmp_path: Path) -> None:
    worse = {name: " ".join(text.split()[:3]) for name, text in CAPTIONS.items()}
    baseline = str(write_run(tmp_path / "worse", worse))
    evaluation = run_evaluate(EvaluateConfig(**corpus, baseline=baseline))
    ours, theirs = (corpus_scores(captions, REFERENCES).as_dict() for captions in (CAPTIONS, worse))
    for name, found in evaluation.differences.items():
        assert found.value == ours[name] - theirs[name]
        assert found.interval.low <= found.value <= found.interval.high
    assert evaluation.differences["Bleu_1"].p_value < 0.05
    assert evaluation.baseline is not None
    assert evaluation.baseline.scores.scores["Bleu_1"].value == theirs["Bleu_1"]


def test_a_captioner_is_no_better_than_itself(corpus: dict[str, Any]) -> None:
    evaluation = run_evaluate(EvaluateConfig(**corpus, baseline=corpus["captions"]))
    for found in evaluation.differences.values():
        assert (found.value, found.interval.low, found.interval.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_baseline_on_other_images(corpus: dict[str, Any], tmp_path: Path) -> None:
    skip = PairingPolicy(MissingPolicy.SKIP, MismatchPolicy.SKIP)
    names = sorted(CAPTIONS)
    fewer = str(write_run(tmp_path / "fewer", {name: CAPTIONS[name] for name in names[:100]}))
    others = str(write_run(tmp_path / "others", {name: CAPTIONS[name] for name in names[20:]}))
    for captions, baseline in ((corpus["captions"], fewer), (fewer, others)):
        config = EvaluateConfig(**{**corpus, "captions": captions}, baseline=baseline, policy=skip)
        with pytest.raises(MetricError, match="scored on different images"):
            run_evaluate(config)


def test_the_study_protocol_is_apart(corpus: dict[str, Any]) -> None:
    plain, study = (run_evaluate(EvaluateConfig(**corpus, study=flag)).result.scores for flag in (False, True))
    assert plain.scores == study.scores
    assert plain.study == {}
    assert list(study.study) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    assert study.study["BLEU-1"] > study.scores["Bleu_1"].value


def test_intermediate_files_go(corpus: dict[str, Any], tmp_path: Path) -> None:
    run_evaluate(EvaluateConfig(**corpus, work_folder=tmp_path / "work"))
    assert list((tmp_path / "work").iterdir()) == []


def test_stages_are_told(corpus: dict[str, Any]) -> None:
    lines: list[str] = []
    run_evaluate(EvaluateConfig(**corpus), tell=lines.append)
    assert lines[0].startswith("joining 120 captions of ")
    assert lines[-1] == "adding up 120 images"


def test_combinations_that_can_not_work() -> None:
    with pytest.raises(UsageError, match="--resamples must not be 0"):
        EvaluateConfig("c", "r", baseline="b", bootstrap=BootstrapSettings(0))
    with pytest.raises(UsageError, match="--training-split needs"):
        EvaluateConfig("c", "r", training_split="x")

"""An evaluation for people and programs: a table to print, and `scores.json`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from caption_core.errors import UsageError
from caption_core.metrics.bootstrap import Difference
from caption_core.metrics.evaluation import Evaluation, ScoredCaptions
from caption_core.metrics.pairing import Tally
from caption_core.metrics.study_2012_09708 import NAME as STUDY

NAME = "scores.json"


def write_scores(folder: Path, evaluation: Evaluation) -> Path:
    """Write `scores.json`: under a temporary name, then moved into place."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    temporary = folder / f"_{NAME}.{secrets.token_hex(8)}.tmp"
    try:
        temporary.write_text(json.dumps(report_of(evaluation), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_scores(path: Path) -> dict[str, float]:
    """Scores by metric from a `scores.json`, rounded to four decimals.

    Raises:
        UsageError: the file is not one.
    """
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return {str(name): round(float(entry["score"]), 4) for name, entry in scores.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not the scores of an evaluation: {error}") from error


def report_of(evaluation: Evaluation) -> dict[str, object]:
    """What `scores.json` holds."""
    config = evaluation.config
    report = {"schema_version": 1, **_report_of_captions(evaluation.result), "notes": evaluation.notes}
    if evaluation.baseline:
        differences = {name: _report_of_difference(found) for name, found in evaluation.differences.items()}
        report["baseline"] = {**_report_of_captions(evaluation.baseline), "differences": differences}
    report["settings"] = {
        "references": config.references,
        "split": config.split,
        "by_name": config.by_name,
        "missing": config.policy.missing.value,
        "extra": config.policy.extra.value,
        "duplicates": config.policy.duplicates.value,
        "training_captions": config.training_captions,
        "tokenization": "PTB, as in coco-caption",
        "resamples": config.bootstrap.resamples,
        "confidence": config.bootstrap.confidence,
        "seed": config.bootstrap.seed,
    }
    return report


def _report_of_captions(result: ScoredCaptions) -> dict[str, object]:
    scores = {}
    for name, score in result.scores.scores.items():
        scores[name] = {"score": score.value}
        if score.interval:
            scores[name] |= {"low": score.interval.low, "high": score.interval.high}
    report: dict[str, object] = {"path": result.path, "scores": scores, "nltk_bleu": result.scores.nltk_bleu}
    if result.scores.study:
        report[STUDY] = result.scores.study
    return {**report, "captions": result.captions.as_dict(), "coverage": result.coverage.as_dict()}


def _report_of_difference(found: Difference) -> dict[str, float]:
    return {"value": found.value, "low": found.interval.low, "high": found.interval.high, "p_value": found.p_value}


def format_evaluation(evaluation: Evaluation) -> str:
    """The table that the job prints."""
    return "\n".join(_lines(evaluation))


def _lines(evaluation: Evaluation) -> Iterator[str]:
    result, bootstrap = evaluation.result, evaluation.config.bootstrap
    yield f"{result.path}: {result.coverage.scored:,} images, {result.coverage.references:,} references"
    yield from _coverage_lines(result)
    yield ""
    heading = f"{bootstrap.confidence:.0%} interval" if bootstrap.resamples else ""
    yield f"{'metric':<22} {'score':>8}  {heading}".rstrip()
    yield from _score_lines(result)
    yield ""
    yield _caption_line(result)
    yield from (f"note: {note}" for note in evaluation.notes)
    if evaluation.baseline:
        yield from _comparison_lines(evaluation, evaluation.baseline)


def _score_lines(result: ScoredCaptions) -> Iterator[str]:
    for name, score in result.scores.scores.items():
        limits = f"[{score.interval.low:.4f}, {score.interval.high:.4f}]" if score.interval else ""
        yield f"{name:<22} {score.value:>8.4f}  {limits}".rstrip()
    for name, value in result.scores.study.items():
        yield f"{f'{STUDY} {name}':<22} {value:>7.4f}"


def _coverage_lines(result: ScoredCaptions) -> Iterator[str]:
    coverage = result.coverage
    told = {
        "images without any caption": coverage.missing,
        "images that the captioner failed on": coverage.failed,
        "captions without a reference, left out": coverage.extra,
        "captions outside the split, left out": coverage.outside_split,
        "further captions of an image, left out": coverage.duplicates,
        "empty captions": coverage.empty_captions,
        "empty references": coverage.empty_references,
        "captions in another script than Latin": coverage.non_latin,
    }
    yield from (f"  {tally.count:,} {what}{_examples(tally)}" for what, tally in told.items() if tally.count)


def _examples(tally: Tally) -> str:
    return f" ({', '.join(tally.examples[:2])}{' ...' if tally.count > 2 else ''})"


def _caption_line(result: ScoredCaptions) -> str:
    facts = result.captions.as_dict()
    told = [
        f"{facts['mean_words']:.1f} ± {facts['sd_words']:.1f} words ({facts['min_words']} to {facts['max_words']})",
        f"{facts['vocabulary']:,} different words",
        f"{facts['distinct_share']:.1%} distinct",
        *([] if facts["novel_share"] is None else [f"{facts['novel_share']:.1%} novel"]),
        f"{facts['repeated_2']:.1%} of bigrams repeated",
    ]
    return f"captions: {', '.join(told)}"


def _comparison_lines(evaluation: Evaluation, baseline: ScoredCaptions) -> Iterator[str]:
    yield ""
    yield f"minus {baseline.path}, in points of 1/100, on the same images:"
    smallest = 2 / (evaluation.config.bootstrap.resamples + 1)
    for name, found in evaluation.differences.items():
        sign = "<=" if found.p_value <= smallest else "="
        low, high = 100 * found.interval.low, 100 * found.interval.high
        yield f"{name:<22} {100 * found.value:>+7.2f}   [{low:+.2f}, {high:+.2f}]  p {sign} {found.p_value:.3f}"

"""Measurements as a table's rows: what each variant costs and gains against its baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from caption_core.errors import UsageError
from caption_core.metrics.bootstrap import Difference
from compression.measurement import Machine, Measurement, Quality
from compression.report.comparing import Others, others_of, prunes
from compression.report.measured import Measured
from compression.report.searches import best_speed, quality_of, speeds_of
from compression.report.wording import machine_in_words

HEADLINE = "CIDEr-D"
"""The score that trade-offs are drawn by."""

_LOWEST_SCORE = 1e-9

Row = dict[str, Any]
"""Column to value: a text, a number, a truth value or None; what a variant lacks may be left out."""

Compare = Callable[[Path, Path], Mapping[str, Difference]]
"""Scores of a file of captions less those of another's, by metric."""


def make_rows(
    measured: Sequence[Measured],
    *,
    baseline: str | None = None,
    beam_width: int | None = None,
    compare: Compare | None = None,
    reported: Sequence[Measured] | None = None,
) -> list[Row]:
    """One flat row a variant.

    Args:
        measured: the variants, among which baselines and twins are looked for.
        baseline: name of the one that all are compared with; None compares each with its own captioner as it is.
        beam_width: in place of each captioner's own; a variant that was not measured with it has no scores or speed.
        compare: gives paired differences of two files of captions; None gives differences without intervals.
        reported: those that get a row; None for all.

    Raises:
        UsageError: there is no such baseline, or nothing was measured with the beam width.
    """
    chosen = measured if reported is None else reported
    if beam_width is not None:
        _check_width(chosen, beam_width)
    return [_row(one, others_of(one, measured, baseline), beam_width, compare) for one in chosen]


def _check_width(measured: Sequence[Measured], beam_width: int) -> None:
    found = {quality.beam_width for one in measured for quality in one.measurement.quality}
    found |= {speed.beam_width for one in measured for speed in one.measurement.speed}
    if beam_width not in found:
        known = ", ".join(map(str, sorted(found))) or "none"
        raise UsageError(f"beam width {beam_width}: nothing was measured with it; measured: {known}")


def _row(one: Measured, others: Others, beam_width: int | None, compare: Compare | None) -> Row:
    own, baseline = one.measurement, others.baseline
    row: Row = {
        "variant": one.name,
        "study": own.study,
        "model": own.model,
        "seed": own.seed,
        **{f"axis_{axis}": choice for axis, choice in own.axes.items()},
        "bundle": own.bundle_id,
        "runtime": own.runtime,
        "random_weights": own.random_weights,
        "pruned": prunes(one),
        "baseline": baseline.name if baseline else None,
        "baseline_runtime": baseline.measurement.runtime if baseline else None,
        "dense_twin": others.dense_twin.name if others.dense_twin else None,
        "runtime_twin": others.runtime_twin.name if others.runtime_twin else None,
    }
    row |= _quality_cells(one, baseline, beam_width, compare)
    row |= _size_cells(own, baseline.measurement if baseline else None)
    row |= _speed_cells(one, others, beam_width)
    row |= {"load_s": own.load_s, "memory_mb": own.memory_mb, "epochs": _epochs(own)}
    # On one line: no cell of a table then begins with a dash, or has several lines.
    recipe = yaml.safe_dump(yaml.safe_load(own.recipe) or [], sort_keys=False, default_flow_style=True, width=10**9)
    return row | {"recipe": recipe.strip(), "command": own.command, "machine": machine_in_words(own.machine)}


def _epochs(own: Measurement) -> int:
    """Epochs of training in all of its steps, with masks fixed too."""
    return sum(len(step.get(training) or ()) for step in own.steps for training in ("history", "fine_tuning"))


def _quality_cells(one: Measured, baseline: Measured | None, beam_width: int | None, compare: Compare | None) -> Row:
    quality = quality_of(one.measurement, beam_width)
    if quality is None or one.measurement.random_weights:
        return {}
    cells: Row = {"split": quality.split, "images": quality.images, "beam_width": quality.beam_width}
    for name, value in quality.scores.items():
        cells[name] = value
        if name in quality.intervals:
            cells[f"{name}_low"], cells[f"{name}_high"] = quality.intervals[name]
    cells |= {f"study_{name}": value for name, value in quality.study_bleu.items()}
    if baseline is None or baseline is one or baseline.measurement.random_weights:
        return cells
    other = quality_of(baseline.measurement, beam_width)
    if other is None or not _comparable(quality, other):
        return cells
    return cells | _change(one.folder, quality, baseline.folder, other, compare)


def _comparable(quality: Quality, other: Quality) -> bool:
    same_images = (quality.split, quality.images) == (other.split, other.images)
    if quality.digest and other.digest:
        same_images &= quality.digest == other.digest  # another file of the split's name has other images
    return same_images and HEADLINE in quality.scores and HEADLINE in other.scores


def _change(folder: Path, quality: Quality, other_folder: Path, other: Quality, compare: Compare | None) -> Row:
    before = other.scores[HEADLINE]
    change = quality.scores[HEADLINE] - before
    cells: Row = {"score_change": change, "score_change_percent": 100 * change / max(before, _LOWEST_SCORE)}
    found = {} if compare is None else compare(folder / quality.captions, other_folder / other.captions)
    cells |= _paired("score_change", found.get(HEADLINE))
    for name in quality.scores:
        if name != HEADLINE and name in other.scores:
            cells[f"{name}_change"] = quality.scores[name] - other.scores[name]
            cells |= _paired(f"{name}_change", found.get(name))
    return cells


def _paired(name: str, found: Difference | None) -> Row:
    if found is None:
        return {}
    return {f"{name}_low": found.interval.low, f"{name}_high": found.interval.high, f"{name}_p": found.p_value}


def _size_cells(own: Measurement, baseline: Measurement | None) -> Row:
    cells: Row = {}
    for part, size in own.sizes.items():
        cells |= {f"{part}_{name}": value for name, value in size.model_dump().items()}
    # Of both parts it would be a mean of integers' and floats' where one is quantized.
    del cells["whole_distinct_values"]
    whole = own.sizes["whole"]
    cells["sparsity"] = 1 - whole.nonzeros / whole.parameters if whole.parameters else 0.0
    if baseline is not None and baseline is not own and (before := baseline.sizes["whole"].stored_bytes):
        cells["size_change_percent"] = 100 * (whole.stored_bytes / before - 1)
    return cells


def _speed_cells(one: Measured, others: Others, beam_width: int | None) -> Row:
    cells: Row = {}
    for threads in sorted({speed.threads for speed in one.measurement.speed}):
        own = _speed_of(one, threads, beam_width)
        own |= _ratio("speedup", one, others.baseline, threads, beam_width)
        own |= _ratio("speedup_over_dense", one, others.dense_twin, threads, beam_width)
        own |= _ratio("speedup_of_runtime", others.runtime_twin, others.baseline, threads, beam_width)
        cells |= {f"threads_{threads}_{name}": value for name, value in own.items()}
    return cells


def _speed_of(one: Measured, threads: int, beam_width: int | None) -> Row:
    best = best_speed(one.measurement, threads, beam_width)
    if best is None:
        return {}
    cells: Row = {name: getattr(best, name) for name in ("images_per_s", "spread", "batch", "beam_width")}
    cells |= {"best_batch_p50_ms": best.p50_ms, "best_batch_p95_ms": best.p95_ms}
    cells |= {f"{stage}_images_per_s": getattr(best, f"{stage}_images_per_s") for stage in ("encode", "search")}
    for speed in speeds_of(one.measurement, threads, beam_width):
        # From files it was measured with one size of batch, which need not be the one that is fastest without them.
        if speed.files_images_per_s is not None:
            cells |= {"files_images_per_s": speed.files_images_per_s, "minutes_2000": speed.minutes()}
        if speed.batch == 1:
            cells |= {"p50_ms": speed.p50_ms, "p95_ms": speed.p95_ms}
            cells |= {"batch_1_images_per_s": speed.images_per_s, "batch_1_spread": speed.spread}
    return cells


def _ratio(name: str, one: Measured | None, other: Measured | None, threads: int, beam_width: int | None) -> Row:
    """How many times as fast as another, and by how much repeats of either differ."""
    if one is None or other is None or other is one:
        return {}
    if not _same_machine(one.measurement.machine, other.measurement.machine):
        return {}
    own, reference = (best_speed(each.measurement, threads, beam_width) for each in (one, other))
    if own is None or reference is None or not reference.images_per_s:
        return {}
    return {name: own.images_per_s / reference.images_per_s, f"{name}_noise": max(own.spread, reference.spread)}


def _same_machine(machine: Machine, other: Machine) -> bool:
    return (machine.processor, machine.cores) == (other.processor, other.cores)

"""What a reader must know of pruned captioners: what it did to speed, and what was not decided by training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from compression.report.measured import Measured
from compression.report.rows import Row
from compression.report.wording import counted, listed, span

_OVER_DENSE = re.compile(r"threads_\d+_speedup_over_dense")

_TOLERANCE = 0.01
"""How far gates may come to lie from the sparsity that is asked for, in a supermask that counts as trained."""

WHY_NO_SPEED = (
    "TensorFlow's kernels multiply zeros like other numbers, and so do LiteRT's, but for 1x1 convolutions of MobileNets"
    " in float32 on Arm and on x86 without AVX: pruning shrinks files where they are entropy-coded (the step store),"
    " not times."
)
"""Why pruned captioners run no faster than their twins, where kernels skip no zeros."""


def pruning_notes(measured: Sequence[Measured], rows: Sequence[Row]) -> list[str]:
    """What pruning alone did to speed, and why; and which zeros training had no part in."""
    return [*_speed(rows), *_ranked(measured), *_at_once(measured)]


def _speed(rows: Sequence[Row]) -> list[str]:
    pruned = [row for row in rows if row["pruned"]]
    timed = [row for row in pruned if any(name.endswith("_images_per_s") for name in row)]
    if pruned and not timed:
        return ["No speed of the pruned captioners was measured."]
    said = [*_against_dense(timed), *_without_twin(timed)]
    return [f"{' '.join(said)} {WHY_NO_SPEED}"] if _slow(timed) else said


def _against_dense(rows: Sequence[Row]) -> list[str]:
    pairs = _pairs(rows)
    if not pairs:
        return []
    compared = counted(len({row["variant"] for row, _ in pairs}), "pruned captioner")
    same = f"{compared} ran at {span([row[name] for row, name in pairs])} times the speed of the same graphs"
    faster = _faster(rows)
    if not faster:
        return [f"Pruning brought no speed: {same} with all weights, within what repeats differ by or slower."]
    said = f"{same} with all weights. Faster by more than repeats differ: {listed(faster)}."
    slow = {row["variant"] for row, _ in pairs} - set(faster)
    return [f"{said} Pruning brought the others no speed." if slow else said]


def _without_twin(rows: Sequence[Row]) -> list[str]:
    lonely = [str(row["variant"]) for row in rows if not _pairs([row])]
    if not lonely:
        return []
    return [
        "Pruned, but without a variant of the same graphs with all weights to compare with, so what pruning alone did "
        f"to speed is not known: {listed(lonely)}."
    ]


def _slow(rows: Sequence[Row]) -> bool:
    """Whether some are no faster than their twins, or have none that they could be faster than."""
    return len(_faster(rows)) < len({row["variant"] for row in rows})


def _faster(rows: Sequence[Row]) -> list[str]:
    """Names of those that are faster than their twins by more than repeats of either differ."""
    pairs = [(row, name) for row, name in _pairs(rows) if row[name] > 1 + row[f"{name}_noise"]]
    return list(dict.fromkeys(str(row["variant"]) for row, _ in pairs))


def _pairs(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Rows, and their columns that compare them with their twins."""
    return [(row, name) for row in rows for name in row if _OVER_DENSE.fullmatch(name)]


def _ranked(measured: Sequence[Measured]) -> list[str]:
    said = [
        f"{100 * abs(found - asked):.1f} % of the gated weights of {name} ({_percent(found, asked)})"
        for name, step in _steps(measured)
        for found, asked in _gates(step)
        if abs(found - asked) > _TOLERANCE
    ]
    if not said:
        return []
    return [
        "The gates of a supermask came to another sparsity than was asked for, so the rest was decided by their order, "
        f"not by their training: {listed(said)}."
    ]


def _percent(found: float, asked: float) -> str:
    return f"{100 * found:.1f} % zeros in place of {100 * asked:.1f} %"


def _gates(step: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """The sparsity that a step's gates came to by themselves, and the one that was asked for."""
    found, asked = step.get("gates_sparsity"), (step.get("settings") or {}).get("sparsity")
    if found is not None and asked is not None:
        yield found, asked


def _at_once(measured: Sequence[Measured]) -> list[str]:
    said = [
        f"{counted(len(step['pruned_at_once']), 'matrix', 'matrices')} of {name}"
        for name, step in _steps(measured)
        if step.get("pruned_at_once")
    ]
    return [f"Pruned at once by magnitude, since they did not train: {listed(said)}."] if said else []


def _steps(measured: Sequence[Measured]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records of all steps, each behind the name of its variant."""
    return ((one.name, step) for one in measured for step in one.measurement.steps)

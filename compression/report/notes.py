"""What a reader must know of a report's figures: protocol, machine, and what pruning did to speed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compression.measurement import Machine
from compression.report.measured import Measured
from compression.report.rows import HEADLINE, Row

_OVER_DENSE = re.compile(r"threads_\d+_speedup_over_dense")

_MOST_NAMES = 6

WHY_NO_SPEED = (
    "LiteRT and TensorFlow keep these weights in dense matrices and multiply zeros like other numbers: pruning shrinks "
    "files where they are entropy-coded (the step store), not times."
)
"""Why pruned captioners run no faster than their twins; holds for runtimes that don't skip zeros."""


def notes_of(measured: Sequence[Measured], rows: Sequence[Row]) -> list[str]:
    """Paragraphs of plain text."""
    return [*_protocol(rows), *_speed(rows), *_machines(measured), *_pruning(rows), *_random(rows)]


def _protocol(rows: Sequence[Row]) -> list[str]:
    scored = [row for row in rows if row.get("split")]
    if not scored:
        return []
    splits = ", ".join(dict.fromkeys(f"{row['images']:,} images of {row['split']}" for row in scored))
    widths = ", ".join(map(str, sorted({row["beam_width"] for row in scored})))
    return [
        f"Scored on {splits}, beam width {widths}. Brackets are 95 % bootstrap intervals over images. {_paired(scored)}"
    ]


def _paired(rows: Sequence[Row]) -> str:
    if any("score_change_low" in row for row in rows):
        return (
            f"A change of {HEADLINE} is a paired difference on the same images: where its interval leaves out zero, it "
            "is more than chance."
        )
    return f"Changes of {HEADLINE} have no intervals here: no references were given to compute them with."


def _speed(rows: Sequence[Row]) -> list[str]:
    spreads = [value for row in rows for name, value in row.items() if name.endswith("_spread")]
    if not spreads:
        return []
    return [
        "Speed is of one process on decoded images, with the batch that is fastest for it; the captioners of a study "
        f"were measured in turns. Repeats of one measurement differed by up to {100 * max(spreads):.0f} % (highest "
        "less lowest, over the median): a smaller difference of two captioners says nothing."
    ]


def _machines(measured: Sequence[Measured]) -> list[str]:
    machines = dict.fromkeys(_described(one.measurement.machine) for one in measured)
    notes = [f"Measured on {machine}." for machine in machines]
    if len(machines) > 1:
        notes.append(
            "Speeds are compared within one kind of machine only; times of loading and memory are as measured."
        )
    return notes


def _described(machine: Machine) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    return f"{machine.processor}, {cores}, {machine.memory_gb:g} GB of memory, {machine.system}; {versions}"


def _pruning(rows: Sequence[Row]) -> list[str]:
    """What pruning alone did to speed, and why."""
    return [*_against_dense(rows), *_without_twin(rows)]


def _against_dense(rows: Sequence[Row]) -> list[str]:
    pairs = [(row, name) for row in rows for name in row if _OVER_DENSE.fullmatch(name)]
    if not pairs:
        return []
    ratios = [row[name] for row, name in pairs]
    compared = _counted(len({row["variant"] for row, _ in pairs}), "pruned captioner")
    faster = list(dict.fromkeys(str(row["variant"]) for row, name in pairs if _is_faster(row, name)))
    same = f"{compared} ran at {_range(ratios)} times the speed of the same graphs with all weights"
    if not faster:
        return [f"Pruning brought no speed: {same}, within what repeats differ by or slower. {WHY_NO_SPEED}"]
    said = f"{same}. Faster by more than repeats differ: {_listed(faster)}."
    slow = {row["variant"] for row, _ in pairs} - set(faster)
    return [f"{said} Pruning brought the others no speed. {WHY_NO_SPEED}" if slow else said]


def _is_faster(row: Row, name: str) -> bool:
    return bool(row[name] > 1 + row[f"{name}_noise"])


def _without_twin(rows: Sequence[Row]) -> list[str]:
    timed = [row for row in rows if row["pruned"] and any(name.endswith("_images_per_s") for name in row)]
    lonely = [str(row["variant"]) for row in timed if not any(_OVER_DENSE.fullmatch(name) for name in row)]
    if not lonely:
        return []
    return [
        "Pruned, but without a variant of the same graphs with all weights to compare with, so what pruning alone did "
        f"to speed is not known: {_listed(lonely)}."
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}"


def _range(ratios: Sequence[float]) -> str:
    low, high = f"{min(ratios):.2f}", f"{max(ratios):.2f}"
    return low if low == high else f"{low} to {high}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _random(rows: Sequence[Row]) -> list[str]:
    if not any(row["random_weights"] for row in rows):
        return []
    return [
        "Captioners marked 'random weights' have an untrained encoder: their sizes and times are real, and they "
        "have no scores."
    ]

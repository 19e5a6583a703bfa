"""What a reader must know of a report's figures: protocol, machine, runtimes, and what pruning did."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compression.report.measured import Measured
from compression.report.pruning_notes import pruning_notes
from compression.report.rows import Row
from compression.report.runtime_notes import runtime_notes
from compression.report.wording import machine_in_words

_SPREAD = re.compile(r"threads_\d+_spread")


def notes_of(measured: Sequence[Measured], rows: Sequence[Row]) -> list[str]:
    """Paragraphs of plain text."""
    said = [*_protocol(rows), *_baselines(rows), *_speed(rows), *runtime_notes(rows)]
    return [*said, *_machines(measured), *pruning_notes(measured, rows), *_random(rows)]


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
            "A change of a score is a paired difference on the same images: where its interval leaves out zero, it is "
            "more than chance."
        )
    return "Changes of scores have no intervals here: no references were given to compute them with."


def _baselines(rows: Sequence[Row]) -> list[str]:
    names = {row["baseline"] for row in rows} - {None}
    if all(row["baseline"] in (None, row["variant"]) for row in rows):
        return []
    against = names.pop() if len(names) == 1 else "the captioner that each was made from"
    return [f"Changes and speed-ups are against {against}."]


def _speed(rows: Sequence[Row]) -> list[str]:
    spreads = [value for row in rows for name, value in row.items() if _SPREAD.fullmatch(name)]
    if not spreads:
        return []
    return [
        "Speed is of one process on decoded images, with the batch that is fastest for it; the captioners of a study "
        f"were measured in turns. Repeats of one measurement differed by up to {100 * max(spreads):.0f} % (highest "
        "less lowest, over the median): a smaller difference of two captioners says nothing."
    ]


def _machines(measured: Sequence[Measured]) -> list[str]:
    machines = dict.fromkeys(machine_in_words(one.measurement.machine) for one in measured)
    notes = [f"Measured on {machine}." for machine in machines]
    if len(machines) > 1:
        notes.append(
            "Speeds are compared within one kind of machine only; times of loading and memory are as measured."
        )
    return notes


def _random(rows: Sequence[Row]) -> list[str]:
    if not any(row["random_weights"] for row in rows):
        return []
    return [
        "Captioners marked 'random weights' have an untrained encoder: their sizes and times are real, and they "
        "have no scores."
    ]
